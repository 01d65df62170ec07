# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each operation of a step is: shared, a source of data, per batch, an update."""

from typing import Any, List

from epl import compat
from epl.rewrite import op_traits
from epl.rewrite.fed import check_feeds
from epl.rewrite.partition import Script, StepPartition
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting, losses_of


def _run(rewriting: Rewriting, family: Family) -> None:
    partition = rewriting.partition(family)
    _check_stages(rewriting, losses_of(family), partition, rewriting.script())
    if len(rewriting.clones) > 1:
        check_feeds(partition, rewriting.graph, len(rewriting.clones), rewriting.plan.num_slices)
        _check_data(partition)
    for group in family:
        group.partition = partition


def wanted(rewriting: Rewriting, family: Family) -> bool:
    """One device that computes nothing but gradients needs no copies, and so no partition."""
    return not rewriting.plan.is_single_device or bool(rewriting.others(family))


def is_known(rewriting: Rewriting, family: Family) -> bool:
    """The family's partition was looked for."""
    return family[0].partition is not None


def _check_stages(rewriting: Rewriting, ys: List[Any], partition: StepPartition,
                  script: Script) -> None:
    used = {partition.stage[op] for op in script.ancestors(ys)
            if op in partition.stage and not script.provenance.is_gradient(op)}
    for number, name in enumerate(rewriting.plan.stage_names):
        if number not in used:
            raise ValueError(
                "the loss depends on no operation of TaskGraph {} ('{}'): its device would do "
                "nothing; remove this epl.replicate, or move it to where its part of the "
                "model begins".format(number, name))


def _check_data(partition: StepPartition) -> None:
    """Raises NotImplementedError for data that the clones would take in no certain order."""
    for op in sorted(partition.batch_dependent, key=compat.op_id):
        origin = op_traits.data_origin(op)
        if origin is not None:
            raise NotImplementedError(
                "operation '{}' ({}) takes data from '{}' inside tf.while_loop, or after something "
                "that depends on the batch: several micro-batches or replicas would take it in no "
                "certain order; take it before the model, for instance with batch() or window() of "
                "the dataset".format(op.name, op.type, origin.name))


PASS = Pass(
    "partition", "says what each operation is to a step; batches are cut where they come in",
    FAMILY, _run, needs=("leaving",), makes=("partition",), wanted=wanted)
