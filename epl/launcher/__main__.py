# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m epl.launcher`: the same as `epl-launch`."""

import sys

from epl.launcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
