# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests without a session: milliseconds each."""
