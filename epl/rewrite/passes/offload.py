# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Variables and what works on them are on the host, of a worker with one device (offload.level).

With several devices the pass `place` puts them there.
"""

from typing import Any

from epl import compat
from epl.ir.environment import context_of
from epl.rewrite.passes import place
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


def _run(rewriting: Rewriting, unit: Any) -> None:
    place.assign_variables(rewriting)
    rewriting.devices.keep_state_on_host(compat.operations_from(rewriting.graph, 0))


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    offload = context_of(rewriting.graph).config.offload.level
    return bool(offload) and not rewriting.devices.several


PASS = Pass(
    "offload", "keeps variables on the host, where a worker has one device (offload.level)",
    GRAPH, _run, wanted=_wanted)
