# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What waited for a write from the batch waits no longer; what the script gets does."""

from epl.rewrite.deferred import defer_updates
from epl.rewrite.passes import partition
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting


def _run(rewriting: Rewriting, family: Family) -> None:
    defer_updates(rewriting.graph, family[0].known_partition, family, rewriting.state)


def _wanted(rewriting: Rewriting, family: Family) -> bool:
    return rewriting.divides and partition.is_known(rewriting, family)


PASS = Pass(
    "deferred", "lets gradients wait no longer for writes from the batch, which follow them",
    FAMILY, _run, needs=("partition",), wanted=_wanted)
