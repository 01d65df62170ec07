# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of graphs and sessions in one process."""
