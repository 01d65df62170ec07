# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Passes from a user's graph to the parallel one, started by the gradients hook.

`gradients` drives them in this order: `seeds`, `aggregate`, `statistics`, `merge`, `verify`.
"""
