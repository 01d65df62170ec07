# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizer state is shared out over the workers (zero.level)."""

from typing import Any

from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.rewrite import zero
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _plan(rewriting: Rewriting, unit: Any) -> None:
    config, plan = context_of(rewriting.graph).config, rewriting.plan
    if plan.devices_per_worker > 1:
        raise ConfigError(
            "zero.level = '{}' shares state out over workers with one device each, and these have "
            "{}: start one worker for each device (epl-launch --gpu_per_worker 1), or leave the "
            "key out".format(config.zero.level, plan.devices_per_worker))
    if config.optimizer.num_apply_group > 1:
        raise ConfigError(
            "zero.level = '{}' and optimizer.num_apply_group = {} do not go together yet: each "
            "worker updates its own part alone already; leave one of them out".format(
                config.zero.level, config.optimizer.num_apply_group))
    if rewriting.new:
        zero.plan(rewriting.graph, rewriting.state, config.zero.level)


def _run(rewriting: Rewriting, unit: Any) -> None:
    if rewriting.new:
        zero.share_out(rewriting.graph, rewriting.state,
                       context_of(rewriting.graph).config.zero.level)
    zero.keep_to_rows(rewriting.graph, rewriting.state)


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    return rewriting.num_workers > 1 and bool(context_of(rewriting.graph).config.zero.level)


def _verify(rewriting: Rewriting) -> None:
    zero.verify(rewriting.graph, rewriting.state)


PLAN = Pass(
    "zero_plan", "chooses who holds which part of the optimizer state (zero.level)",
    GRAPH, _plan, makes=("owners",), wanted=_wanted)

PASS = Pass(
    "zero", "shares optimizer state out over the workers (zero.level)",
    GRAPH, _run, needs=("gradients", "owners"), wanted=_wanted, verify=_verify)
