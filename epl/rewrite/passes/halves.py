# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the plan has a backward in two halves, the first waits for nothing of the second.

With one clone there is no order to keep, and the waits stay: TensorFlow has them so that no
variable is updated while another gradient of the same operation is still computed from it. With
several clones updates wait for all backwards (`order`).
"""

from epl.ir import editor
from epl.rewrite.halves import untie, verify_halves
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting, raw_of


def _run(rewriting: Rewriting, family: Family) -> None:
    ops = rewriting.script().ancestors(raw_of(family))
    editor.say(rewriting.graph, "wait(s) of gradients of inputs for those of weights undone",
               untie(ops, rewriting.state.provenance))


def _wanted(rewriting: Rewriting, family: Family) -> bool:
    return len(rewriting.clones) > 1 and any(
        map(rewriting.plan.splits_backward, range(rewriting.plan.num_stages)))


def _verify(rewriting: Rewriting) -> None:
    for group in rewriting.new:
        if _wanted(rewriting, [group]) and group.partition is not None:
            verify_halves(group.partition)


PASS = Pass(
    "halves", "lets gradients of inputs wait for none of weights, if these are put off",
    FAMILY, _run, wanted=_wanted, verify=_verify)
