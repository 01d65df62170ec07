# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the passes promise, checked on what they built.

Cheap, and always on. A failure here is a defect of EPL.
"""

from epl import compat
from epl.errors import RewriteError
from epl.ir.graph_state import GraphState
from epl.ir.ownership import Ownership
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import op_traits, sparse
from epl.rewrite.groups import GradientGroup, collectives_of, parts
from epl.rewrite.place import Devices
from epl.rewrite.walk import data_ancestors


def verify_names(state: GraphState) -> None:
    """Check that no two collectives of a graph meet under one name."""
    names = [collective.name for collective in collectives_of(state)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RewriteError("collectives {} would meet under one name".format(twice))


def verify_collectives(group: GradientGroup, plan: ParallelPlan, ownership: Ownership) -> None:
    """Collectives run in every step, and every gradient comes out of one of the right workers."""
    for collective in group.collectives:
        if compat.control_flow_context(collective.op) is not None:
            raise RewriteError("collective {} is inside control flow, where a worker may skip it"
                               .format(collective.name))
        if not any(t.consumers() for t in collective.op.outputs):
            raise RewriteError("collective {} feeds nothing".format(collective.name))
    if plan.num_workers == 1:
        return
    for gradient in group.gradients:
        holders = ownership.group(compat.variable_key(gradient.variable))
        reduced = {c.op for c in group.collectives if c.group == holders}
        # Rows that all workers share are not exchanged, only what is added to them.
        shared = op_traits.same_rows(gradient.raw)
        for part in [gradient.returned.values] if shared else parts(gradient.returned):
            if not data_ancestors([part.op], reduced | {group.weighed}) & reduced:
                raise RewriteError(
                    "gradient {} would be applied without being reduced over workers {}".format(
                        part.name, ", ".join(map(str, holders.ranks))))


def verify_aggregation(group: GradientGroup) -> None:
    """Every clone's gradient reaches what the script got, unless it is the same for all."""
    clones = group.copied
    if clones is None:
        return
    for gradient in group.gradients:
        pieces = [parts(piece) for piece in sparse.pieces(gradient.raw)]
        for raw, returned in zip(zip(*pieces), parts(gradient.returned)):
            ends = {clones.tensor(tensor, clone).op for tensor in raw for clone in clones.clones}
            missing = ends - data_ancestors([returned.op], ends)
            if missing:
                raise RewriteError("gradient {} would be applied without that of {}".format(
                    returned.name, sorted(op.name for op in missing)[0]))


def verify_clones(group: GradientGroup) -> None:
    """A copy reads copies of its own clone, and what all share."""
    clones = group.copied
    if clones is None:
        return
    for op in group.known_partition.batch_dependent:
        inputs = list(op.inputs)
        for clone in clones.clones[1:]:
            copy = clones.op(op, clone)
            if copy is op:
                raise RewriteError("{} has no copy for {}".format(op.name, clone))
            for tensor, found in zip(inputs, copy.inputs):
                if found is not clones.tensor(tensor, clone):
                    raise RewriteError("{} reads {} instead of {}".format(
                        copy.name, found.name, clones.tensor(tensor, clone).name))


def verify_order(group: GradientGroup) -> None:
    """Every edge of the schedule is there."""
    for edge in group.edges:
        if edge.barrier not in edge.after.control_inputs:
            raise RewriteError("{} does not wait for {}".format(edge.after.name, edge.barrier.name))


def verify_devices(group: GradientGroup, devices: Devices) -> None:
    """Everything sits where `place` decided, and what belongs to a stage on its clone's device."""
    clones = group.clones
    if clones is None or not devices.several:
        return
    partition = group.known_partition
    first = clones.clones[0]
    for op in partition.ops:
        stage, backward = partition.stage[op], partition.goes_back(op)
        of_state = devices.state_device(op, follow=not backward)
        follows_stage = devices.placed(op) and of_state is None \
            and op.device == devices.of_stage(stage, first)
        for clone in clones.clones if op in partition.batch_dependent else [first]:
            placed = clones.op(op, clone)
            meant = devices.of_stage(stage, clone) if follows_stage \
                else devices.choose(op, stage, clone, backward)
            if placed.device != meant:
                raise RewriteError("{} is on '{}' instead of '{}'".format(
                    placed.name, placed.device, meant))
