# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients are reduced over the workers, and put behind what the script got.

The losses travel with them.
"""

from typing import Any, List, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Collective
from epl.ir import editor
from epl.ir.ownership import ownership_of
from epl.rewrite import registered, sparse, unequal
from epl.rewrite.addends import addends
from epl.rewrite.aggregate import ReduceOptions, reduce_gradients
from epl.rewrite.groups import Gradient, GradientGroup, Merged, parts
from epl.rewrite.loss_record import averaged_as, weight_of
from epl.rewrite.loss_scale import LossScales
from epl.rewrite.merge import merged_loss, merged_weight
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.rewriting import Family, Rewriting
from epl.rewrite.scatter import Scattered, scatter
from epl.rewrite.verify import verify_collectives, verify_names
from epl.rewrite.weights import times
from epl.rewrite.zero import Zero


def _run(rewriting: Rewriting, family: Family) -> None:
    for group in family:
        _aggregate(rewriting, group)
        group.rewritten = True
    rewriting.state.has_steps = True


def _aggregate(rewriting: Rewriting, group: GradientGroup) -> None:
    graph, gradients = rewriting.graph, rewriting.local[group.name]
    apart: List[Collective] = []
    losses = losses_of_clones(rewriting, group)
    weight = weight_of(group.ys[0], rewriting.state)
    weighed = [] if weight is None else [merged_weight(group, weight, rewriting.plan)]
    values = [value for _, value in losses] + weighed
    counts = _counts(rewriting, group, values)
    values.extend(mean for *_, mean in counts)
    reduced, values = _reduced(rewriting, group, values, apart)
    if weighed:
        group.collectives.extend(apart)  # what travels apart is needed for gradients
        apart = []
        reduced, values[:len(losses)] = _divided_by_weight(
            group, reduced, values[:len(losses)], values[len(losses)])
    _take_turns(rewriting, group)
    if counts:
        with compat.inserted(graph, group.name + "/counts"):
            group.counts = tf.stack([tf.stack(own[:-1] + [mean]) for own, mean in zip(
                counts, values[-len(counts):])])
    for (loss, _), value in zip(losses, values):
        if value is not loss:
            group.merged[loss.name] = Merged(value, tuple(apart))
            _merge_unscaled(rewriting, group, loss)
    rest = iter(reduced)
    with compat.inserted(graph, group.name + "/join"):
        for gradient, found in zip(group.gradients, gradients):
            give_back(rewriting, group, gradient, sparse.joined([
                sparse.once(piece, next(rest)) for piece in found.pieces]))


def _divided_by_weight(group: GradientGroup, gradients: List[Any], losses: List[Any],
                       weight: Any) -> Tuple[List[Any], List[Any]]:
    """Gradients and losses, whose parts were multiplied with weights, by the mean of these."""
    with compat.inserted(weight.graph, group.name + "/weights"):
        factor = 1.0 / weight
        group.weighed = factor.op
        return [times(gradient, factor) for gradient in gradients], [
            times(loss, factor) for loss in losses]


def _take_turns(rewriting: Rewriting, group: GradientGroup) -> None:
    """Where exchanges hold threads while they wait, only so many do, on all workers the same ones.

    Each waits for the one that was made so many before it.
    """
    most = None if rewriting.options is None else rewriting.options.communicator.most_waiting
    if most is not None:
        ops = [collective.op for collective in group.collectives]
        for before, behind in zip(ops, ops[most:]):
            editor.wait_for(behind, [before])


def _merge_unscaled(rewriting: Rewriting, group: GradientGroup, loss: Any) -> None:
    """The script fetches its own loss, and differentiates that loss times a scale."""
    scales, scaled = rewriting.state.find(LossScales), group.merged[loss.name]
    with compat.inserted(rewriting.graph, group.name + "/unscaled"):
        found = None if scales is None else scales.unscaled(loss, scaled.value)
    if found is not None and registered.how(found[0], rewriting.state) is None:
        group.merged[found[0].name] = scaled._replace(value=found[1])


def _reduced(rewriting: Rewriting, group: GradientGroup, losses: List[Any],
             apart: List[Collective]) -> Tuple[List[Any], List[Any]]:
    """Every piece of this worker's gradients reduced over those who hold the variable; the losses.

    The losses, which all workers have, travel with the gradients of what all hold alike.
    """
    ownership, options = ownership_of(rewriting.graph), rewriting.options
    zero = rewriting.state.record(Zero)
    # The rows of each worker, of what is shared out; else the groups that have it alike.
    pieces = [(piece, zero.rows_of(gradient)
               or ownership.groups(compat.variable_key(gradient.variable)))
              for gradient, found in zip(group.gradients, rewriting.local[group.name])
              for piece in found.local]
    reduced = [piece for piece, _ in pieces]
    if options is None:
        return reduced, losses
    _scatter(group, pieces, reduced, options)
    divisions: List[Any] = [(options.group,)]
    divisions += [each for each in dict.fromkeys(
        groups for _, groups in pieces if isinstance(groups, tuple)) if each not in divisions]
    for number, groups in enumerate(divisions):
        where = [n for n, piece in enumerate(pieces) if piece[1] == groups]
        prefix = group.name + ("/holders_{}/".format(number) if number else "/")
        with compat.inserted(rewriting.graph, group.name):
            found, beside = reduce_gradients(
                [reduced[n] for n in where], prefix, options.among(groups),
                group.collectives, [] if number else losses, apart)
        for n, piece in zip(where, found):
            reduced[n] = piece
        losses = losses if number else beside
    return reduced, losses


def _scatter(group: GradientGroup, pieces: List[Tuple[Any, Any]], reduced: List[Any],
             options: ReduceOptions) -> None:
    """Put this worker's rows into `reduced` of the gradients that are shared out."""
    where = [n for n, (_, rows) in enumerate(pieces) if isinstance(rows, list)]
    if where:
        with compat.inserted(pieces[where[0]][0].graph, group.name):
            found = scatter([Scattered(*pieces[n]) for n in where], group.name + "/parts",
                            options, group.collectives)
        for n, piece in zip(where, found):
            reduced[n] = piece


def losses_of_clones(rewriting: Rewriting, group: GradientGroup) -> List[Tuple[Any, Any]]:
    """(loss, its value over this worker's clones) of the losses that are numbers.

    And of the numbers that these are added up from.
    """
    state = rewriting.state
    losses = {loss.name: (loss, averaged_as(loss, state)) for loss in group.ys
              if registered.is_number(loss)}
    for loss, averaged in list(losses.values()):
        for one, other in addends(loss, averaged, group, state):
            losses.setdefault(one.name, (one, other))
    weight = weight_of(group.ys[0], state)
    return [(loss, merged_loss(group, averaged, rewriting.plan, weight))
            for loss, averaged in losses.values() if registered.how(loss, state) is None]


def _counts(rewriting: Rewriting, group: GradientGroup, losses: List[Any]) -> List[List[Any]]:
    """For each measure that parts may differ by what it is in each clone, and the mean of these."""
    exact = [loss.dtype.base_dtype for loss in losses
             if loss.dtype.base_dtype in (tf.float32, tf.float64)]
    with compat.inserted(rewriting.graph, group.name + "/counts"):
        found = [unequal.counted(measure, group, rewriting.clones, (exact + [tf.float32])[0])
                 for measure in group.measures]
        return [own + [tf.add_n(own) / len(own)] for own in found]


def give_back(rewriting: Rewriting, group: GradientGroup, gradient: Gradient, value: Any) -> None:
    """Put the aggregated value behind what the script got."""
    for old, returned, new in zip(parts(gradient.raw), parts(gradient.returned), parts(value)):
        if new is not old:
            editor.replace_input(returned.op, old, new)
        if rewriting.devices.several:
            editor.put_on(returned.op, rewriting.device_of(gradient.variable))
        if group.order is not None:  # an update must not overtake a reader of the old value
            editor.wait_for(returned.op, [group.order.done])


def _verify(rewriting: Rewriting) -> None:
    for group in rewriting.new:
        verify_collectives(group, rewriting.plan, ownership_of(rewriting.graph))
    verify_names(rewriting.state)


PASS = Pass(
    "aggregate", "reduces gradients and losses over the workers, and gives them to the script",
    FAMILY, _run, needs=("local gradients",), makes=("gradients",), verify=_verify)
