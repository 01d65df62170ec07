# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What `epl-launch --check` and its workers agree on; imports nothing."""

STEPS_VARIABLE = "EPL_CHECK_STEPS"  # asks every worker for a check of so many steps

# Exit codes of the workers, beside 0.
DIFFERENT_CODE = 3  # values differ
UNCHECKED_CODE = 4  # not all could be compared
