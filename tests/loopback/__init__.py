# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of several workers that are threads of one process."""
