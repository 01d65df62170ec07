# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What `epl-launch --check` and `--plan` and their workers agree on."""

import re
from typing import Optional, Tuple

STEPS_VARIABLE = "EPL_CHECK_STEPS"  # asks every worker for a check of so many steps
PLAN_VARIABLE = "EPL_PLAN_FOR"  # asks for the plan for such a layout: 4x8

# Exit codes of the workers, beside 0.
DIFFERENT_CODE = 3  # values differ
UNCHECKED_CODE = 4  # not all could be compared


def layout_of(text: str) -> Optional[Tuple[int, int, str]]:
    """(workers, devices of each, "cpu" or "gpu") of a text like 4x8 or 4x8:gpu; None: no such."""
    found = re.match(r"^([1-9][0-9]{0,5})x([1-9][0-9]{0,5})(?::(cpu|gpu))?$", text)
    return (int(found.group(1)), int(found.group(2)), found.group(3) or "cpu") if found else None
