# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Refuses a Python whose setuptools does not read pyproject.toml, where all else is."""

import sys

from setuptools import setup

if sys.version_info < (3, 7):
    sys.exit("EPL needs Python 3.7 to 3.13, and this is Python %d.%d" % sys.version_info[:2])
setup()
