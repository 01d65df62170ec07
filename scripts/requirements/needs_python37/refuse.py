# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The build of a TensorFlow that there is not: it ends with the reason."""

import sys


def build_wheel(*_, **__):
    sys.exit("TensorFlow 1.15 needs Python 3.7, and this is Python {}.{}; with this Python install "
             "epl[tf2]".format(*sys.version_info[:2]))
