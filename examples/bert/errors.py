# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong because of the user's input, and how a script ends then."""

import sys
from typing import Callable


class UserError(Exception):
    """A file, flag or value that cannot be used; the message names it, the limit and the cure."""


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
