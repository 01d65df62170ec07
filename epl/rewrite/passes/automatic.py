# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which stage each operation is in, where the script leaves that to EPL."""

from typing import Any

from epl.errors import RewriteError
from epl.ir import editor
from epl.plan.action import FORWARD
from epl.rewrite import op_traits
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.planning import automatic
from epl.rewrite.planning.automatic import Automatic
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    automatic.assign(rewriting.graph, rewriting.state, rewriting.plan)
    editor.say(rewriting.graph, "stage(s) of {} part(s)".format(
        len(rewriting.state.known(Automatic).chain.units)), rewriting.plan.num_stages)


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    return automatic.is_wanted(rewriting.graph, rewriting.plan)


def _verify(rewriting: Rewriting) -> None:
    """Nothing in a forward pass takes something from a later stage."""
    if rewriting.state.find(Automatic) is None:
        return
    for group in rewriting.new:
        found = group.known_partition
        for op, kind in found.phase.items():
            for tensor in op.inputs if kind == FORWARD else ():
                if not op_traits.is_handle(tensor) and tensor.op not in found.loop \
                        and found.stage.get(tensor.op, 0) > found.stage[op]:
                    raise RewriteError(
                        "operation '{}' is in stage {}, but takes '{}' of stage {}".format(
                            op.name, found.stage[op], tensor.name, found.stage[tensor.op]))


PASS = Pass("automatic", "chooses the stages of a model that is not annotated", GRAPH, _run,
            makes=("stages",), wanted=_wanted, verify=_verify)
