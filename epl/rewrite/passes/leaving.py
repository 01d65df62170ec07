# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What leaves the steps: variables that they write, and what depends on the gradients."""

from typing import Any

from epl.rewrite import leaving, registered
from epl.rewrite.groups import groups_of, sources_of
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting, raw_of


def _run(rewriting: Rewriting, unit: Any) -> None:
    state = rewriting.state
    for group in rewriting.new:
        group.sources = sources_of(group.ys + raw_of([group]), state)
    if len(rewriting.clones) > 1:
        leaving.check_order(groups_of(state))
    state.keep(leaving.look(rewriting.graph, state))
    if rewriting.divides:
        registered.check_registered(state)


PASS = Pass(
    "leaving", "finds what a step writes, and what depends on its gradients",
    GRAPH, _run, makes=("leaving",))
