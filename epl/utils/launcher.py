# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m epl.utils.launcher`: the same as `epl-launch`."""

import sys

from epl.launcher.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
