# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Passes from a user's graph to the parallel one.

`gradients` notes what a script asks for; `rewriter` drives the passes when the graph is complete.
"""
