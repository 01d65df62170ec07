# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`VERSION`, as in `epl`."""

from epl.version import __version__ as VERSION

__all__ = ["VERSION"]
