# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Decisions as pure data. Nothing in this package imports TensorFlow."""
