# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a training step really did: a timeline of its pipeline, times of its operations."""

from epl.profiler.costs import CostsHook
from epl.profiler.hook import TimelineHook
from epl.profiler.trace import TracedStep, trace_step

__all__ = ["CostsHook", "TimelineHook", "TracedStep", "trace_step"]
