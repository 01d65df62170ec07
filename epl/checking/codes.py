# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Exit codes of the workers of `epl-launch --check`, beside 0; imports nothing."""

DIFFERENT_CODE = 3  # values differ
UNCHECKED_CODE = 4  # not all could be compared
