# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scripts that workers run."""
