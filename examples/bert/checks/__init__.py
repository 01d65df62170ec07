# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Comparisons with other programs, which have to be installed for them; run by hand."""
