# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a training step really did: a timeline of its pipeline, measured."""

from epl.profiler.hook import TimelineHook
from epl.profiler.trace import TracedStep, trace_step

__all__ = ["TimelineHook", "TracedStep", "trace_step"]
