# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules: the order in which devices run the forwards and backwards of their micro-batches.

A schedule is a function from a `Shape` to the actions of every device; `register` gives it a name.
A module here is a family of schedules that registers itself: all of them are imported.
"""

import importlib
import pkgutil

from epl.plan.schedules.registry import AUTO, NAMES, Schedule, Shape, actions_of, register

__all__ = ["AUTO", "NAMES", "Schedule", "Shape", "actions_of", "register"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module("{}.{}".format(__name__, _module.name))
