# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The check that is on, if one is: the one thing that the engine has to know of checks."""

from typing import Any, Optional

STEPS_VARIABLE = "EPL_CHECK_STEPS"  # how `epl-launch --check` asks every worker for one

_check: Any = None


def begin(check: Any) -> None:
    """From now on `check` sees graphs before they are rewritten, and training steps."""
    global _check
    _check = check


def end() -> None:
    """No check is on any more."""
    global _check
    _check = None


def current() -> Optional[Any]:
    """The `Check` that is on, or None."""
    return _check
