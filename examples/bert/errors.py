# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong because of the user's input, and how a script ends then."""

import sys
from typing import Any, Callable


class UserError(Exception):
    """A file, flag or value that cannot be used; the message names it, the limit and the cure."""


def shown(value: Any, limit: int = 80) -> str:
    """`value` as Python writes it, on one line and no longer than `limit` characters."""
    text = repr(value[:limit] if isinstance(value, str) else value)
    return text if len(text) <= limit else text[:limit - 3] + "..."


def exit_code(main: Callable[[], None]) -> int:
    """Run `main`; a user's error becomes one line on standard error instead of a traceback.

    Returns:
      0, or 1 after a `UserError`.
    """
    try:
        main()
    except UserError as error:
        sys.stderr.write("error: {}\n".format(error))
        return 1
    return 0
