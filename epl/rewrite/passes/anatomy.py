# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each operation of a step is: shared, a source of data, per batch, an update."""

from typing import Any, List

from epl import compat
from epl.rewrite import kinds
from epl.rewrite.anatomy import Anatomy, Script
from epl.rewrite.fed import check_feeds
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting, losses_of


def _run(rewriting: Rewriting, family: Family) -> None:
    anatomy = rewriting.anatomy(family)
    _check_stages(rewriting, losses_of(family), anatomy, rewriting.script())
    if len(rewriting.clones) > 1:
        check_feeds(anatomy, rewriting.graph, len(rewriting.clones), rewriting.plan.num_slices)
        _check_data(anatomy)
    for group in family:
        group.anatomy = anatomy


def wanted(rewriting: Rewriting, family: Family) -> bool:
    """One device that computes nothing but gradients needs no copies, and so no anatomy."""
    return not rewriting.plan.is_single_device or bool(rewriting.others(family))


def is_known(rewriting: Rewriting, family: Family) -> bool:
    """The family's anatomy was looked for."""
    return family[0].anatomy is not None


def _check_stages(rewriting: Rewriting, ys: List[Any], anatomy: Anatomy, script: Script) -> None:
    used = {anatomy.stage[op] for op in script.behind(ys)
            if op in anatomy.stage and not script.provenance.is_gradient(op)}
    for number, name in enumerate(rewriting.plan.stage_names):
        if number not in used:
            raise ValueError(
                "the loss depends on no operation of TaskGraph {} ('{}'): its device would do "
                "nothing; remove this epl.replicate, or move it to where its part of the "
                "model begins".format(number, name))


def _check_data(anatomy: Anatomy) -> None:
    """Raises NotImplementedError for data that the clones would take in no certain order."""
    for op in sorted(anatomy.per_batch, key=compat.op_id):
        origin = kinds.data_origin(op)
        if origin is not None:
            raise NotImplementedError(
                "operation '{}' ({}) takes data from '{}' inside tf.while_loop, or after something "
                "that depends on the batch: several micro-batches or replicas would take it in no "
                "certain order; take it before the model, for instance with batch() or window() of "
                "the dataset".format(op.name, op.type, origin.name))


PASS = Pass(
    "anatomy", "says what each operation is to a step; batches are cut where they come in",
    FAMILY, _run, needs=("leaving",), makes=("anatomy",), wanted=wanted)
