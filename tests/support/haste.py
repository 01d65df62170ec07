# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a process that builds many small graphs does to be done sooner; no result depends on it."""

import gc
import sys


def begin():
    """Call it when everything is imported."""
    # To look for garbage in what has been imported again and again, as building graphs makes Python
    # do, takes a quarter of the time of tests that build them; to look for it in each graph again
    # and again while that grows, a tenth of what is left.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50000, 20, 20)
    _keep_deprecations_quiet()


def _keep_deprecations_quiet():
    """TensorFlow 1.15 looks through the signature of a function whenever it is called, if an
    argument of it is deprecated: a twentieth of the time.
    """
    name = ".python.util.deprecation"
    module = sys.modules.get("tensorflow_core" + name) or sys.modules.get("tensorflow" + name)
    if module is not None:
        module._PRINT_DEPRECATION_WARNINGS = False
