# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A small data set of our own making, and what it was made with."""
