# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stages on their devices; state is on one device."""

from typing import Any

from epl import compat
from epl.ir import editor
from epl.rewrite.passes import partition
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting
from epl.rewrite.verify import verify_devices


class _Placed:
    """How far a graph that is not trained is placed: up to the operation of this number."""

    def __init__(self) -> None:
        self.last_id = 0


def place_model(rewriting: Rewriting) -> None:
    """Place a model that is only run, not trained, on the devices of the first replica."""
    state = rewriting.state
    assign_variables(rewriting)
    placed = state.record(_Placed)
    for op in compat.operations_from(rewriting.graph, placed.last_id + 1):
        if not state.provenance.before_first(op):
            rewriting.devices.place(op, state.provenance.stage_of(op), rewriting.clones[0], False)
    placed.last_id = compat.last_id(rewriting.graph)


def _run(rewriting: Rewriting, family: Family) -> None:
    devices, found = rewriting.devices, family[0].known_partition
    assign_variables(rewriting)
    for op in found.ops:
        devices.place(op, found.stage[op], rewriting.clones[0], found.goes_back(op))
        if op in found.deferred and op in found.loop:
            editor.forget_colocation(op)  # it is where the update is, not with its neighbours


def _wanted(rewriting: Rewriting, family: Family) -> bool:
    return rewriting.devices.several and partition.is_known(rewriting, family)


def assign_variables(rewriting: Rewriting) -> None:
    """Give the model's variables their devices."""
    state = rewriting.state
    owned = [v for v in compat.global_variables(rewriting.graph) if _is_of_model(rewriting, v)]
    rewriting.devices.assign(owned, state.provenance.stage_of)
    for variable in owned:
        rewriting.devices.place(compat.variable_key(variable), 0, rewriting.clones[0], False)


def _is_of_model(rewriting: Rewriting, variable: Any) -> bool:
    """True for weights and statistics; counters and what optimizers add are TensorFlow's."""
    provenance, op = rewriting.state.provenance, compat.variable_key(variable)
    if not variable.dtype.is_floating:
        return False
    return variable.trainable or not (
        provenance.before_first(op) or provenance.is_of_optimizer(op))


def _verify(rewriting: Rewriting) -> None:
    for group in rewriting.new:
        verify_devices(group, rewriting.devices)


PASS = Pass(
    "place", "puts stages on their devices, and state where it lives",
    FAMILY, _run, needs=("partition",), makes=("places",), wanted=_wanted, verify=_verify)
