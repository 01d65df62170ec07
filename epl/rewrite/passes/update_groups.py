# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Variables are updated group by group (optimizer.num_apply_group)."""

from typing import Any

from epl.ir.environment import context_of
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting
from epl.rewrite.update_groups import order_updates, verify_updates


def _number(rewriting: Rewriting) -> int:
    return int(context_of(rewriting.graph).config.optimizer.num_apply_group)


def _run(rewriting: Rewriting, unit: Any) -> None:
    order_updates(rewriting.graph, rewriting.state, _number(rewriting))


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    return _number(rewriting) > 1


def _verify(rewriting: Rewriting) -> None:
    verify_updates(rewriting.state)


PASS = Pass(
    "update_groups", "lets variables be updated group by group (optimizer.num_apply_group)",
    GRAPH, _run, needs=("gradients",), wanted=_wanted, verify=_verify)
