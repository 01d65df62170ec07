# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What pass `recompute` does: family by family, the gradients of one call after the other."""

from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError, RewriteError
from epl.ir import editor
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState
from epl.plan.checkpoints import Cuts
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import loops, op_traits
from epl.rewrite.groups import GradientGroup, groups_of, parts
from epl.rewrite.leaving import Leaving
from epl.rewrite.partition import StepPartition
from epl.rewrite.recompute.checked import PlainBackward
from epl.rewrite.recompute.copies import Builder, Copies
from epl.rewrite.recompute.forward import Forward, source_of
from epl.rewrite.recompute.kept import Kept, keep_collected, read_again
from epl.rewrite.recompute.planned import Planner
from epl.rewrite.rewriting import Family, Rewriting, losses_of, raw_of, script_of
from epl.rewrite.walk import ancestors

_COLLECTION = "checkpoints"
_CURE = ("say what is to be kept, tf.add_to_collection('{}', tensor), for instance the output of "
         "each layer; or use gradient_checkpoint.type = 'auto'".format(_COLLECTION))


class Recomputed:
    """What the backward passes of one graph compute again.

    Attributes:
      by_group: name of a group of gradients -> its copies.
    """

    def __init__(self) -> None:
        self.by_group: Dict[str, Copies] = {}


def recompute(rewriting: Rewriting, family: Family) -> None:
    """Let the backward pass of a family compute again what is not kept.

    Raises:
      ConfigError: the keys contradict one another, there is no checkpoint that a backward pass goes
        through, or the budget is too small.
    """
    asked = _Asked(rewriting.graph, rewriting.state, rewriting.plan)
    updates = _updates(groups_of(rewriting.state))
    for write in rewriting.state.known(Leaving).writes:  # from the batch: an average, say
        updates.setdefault(op_traits.written_variable(write), []).append(("", write))
    # One clone in all shares nothing with others.
    partition = rewriting.partition(family) if rewriting.divides or rewriting.plan.num_stages > 1 \
        else None
    for group, forward in _forwards(rewriting.state, family, partition):
        stages = {op: 0 if partition is None else partition.stage[op] for op in forward.ops}
        kept = asked.kept(group, forward, stages)
        if kept is None or not kept.repeated:
            continue
        checked = None if not asked.checks else PlainBackward(
            rewriting.graph, rewriting.state.provenance, group, forward,
            {} if partition is None else partition.stage)
        copies = Builder(rewriting.graph, rewriting.state.provenance, group.name, forward, kept,
                         stages, {variable: [op for name, op in ops if name != group.name]
                                  for variable, ops in updates.items()}).build()
        if checked is not None:
            checked.compare()
        _let_updates_wait(copies, {variable: [op for name, op in ops if name == group.name]
                                   for variable, ops in updates.items()})
        rewriting.state.checkpoints.update((t.name, t) for op in forward.ops for t in op.outputs
                                           if t.name in kept.tensors)
        editor.say(rewriting.graph, "operation(s) computed again", len(copies.copies))
        editor.say(rewriting.graph, "segment(s)", len(copies.waiting))
        rewriting.state.record(Recomputed).by_group[group.name] = copies


def _forwards(state: GraphState, family: Family,
              partition: Optional[StepPartition]) -> Iterator[Tuple[GradientGroup, Forward]]:
    """Each call for gradients, and the forward pass with what its backward pass reads."""
    script = script_of(state)
    ops = script.ancestors(losses_of(family)) - script.added
    apart = set() if partition is None else ops - partition.batch_dependent
    done = set(ops)
    for group in family:
        backward = script.ancestors(raw_of([group])) - script.added - done
        done |= backward
        yield group, Forward(ops, backward, state.provenance, apart)


def planned(graph: Any, state: GraphState, plan: ParallelPlan, family: Family,
            partition: StepPartition) -> Dict[str, Tuple[Any, Any]]:
    """What the backward pass of a family will read of what is computed again.

    Args:
      graph: the script's, before it is rewritten.
      state: its record.
      plan: the plan to be carried out.
      family: the gradients.
      partition: of their step.

    Returns:
      Name of a tensor that is read -> (the tensor whose memory it is, what it is computed with).
    """
    asked = _Asked(graph, state, plan)
    found: Dict[str, Tuple[Any, Any]] = {}
    for group, forward in _forwards(state, family, partition):
        stages = {op: partition.stage[op] for op in forward.ops}
        kept, _ = asked.planned(group, forward, stages)
        if kept is not None and kept.repeated:
            found.update((name, (source, (stages[source.op], segment)))
                         for name, (source, segment) in read_again(forward, kept).items())
    return found


def check_fed(state: GraphState, tensors: Iterable[Any]) -> None:
    """Raises ValueError for a step that is fed what its backward pass would compute again."""
    found = state.find(Recomputed)
    for copies in found.by_group.values() if found is not None else ():
        for tensor in tensors:
            if tensor.op in copies.copies:
                raise ValueError(
                    "'{}' is fed to a training step, but gradient_checkpoint.type lets the "
                    "backward pass compute it again, without what is fed: say epl.divide_feed or "
                    "epl.share_feed of it when it is built, or feed a placeholder".format(
                        tensor.name))


def verify_recomputed(state: GraphState) -> None:
    """Every segment waits for what is behind it, and no copy computes what can't be computed twice.
    """
    found = state.find(Recomputed)
    for copies in found.by_group.values() if found is not None else ():
        for barrier, entries in copies.waiting.items():
            for entry in entries:
                if barrier not in entry.control_inputs:
                    raise RewriteError("{}, which is computed again, does not wait for {}".format(
                        entry.name, barrier.name))
        for copy in copies.copies.values():
            if op_traits.is_stateful(copy):
                raise RewriteError("{} would draw, read or write once more".format(copy.name))


class _Asked:
    """What the configuration and the script ask for."""

    def __init__(self, graph: Any, state: GraphState, plan: ParallelPlan):
        config = context_of(graph).config.gradient_checkpoint
        self._plan, self._budget = plan, int(config.budget_mb) << 20
        self.checks = bool(config.check_gradients)
        self._graph, self._collects = graph, config.type == "collection"
        if self._collects and self._budget:
            raise ConfigError(
                "gradient_checkpoint.budget_mb = {} with gradient_checkpoint.type = 'collection': "
                "the collection says what is kept; use type 'auto', or leave the budget out".format(
                    config.budget_mb))
        if config.end_taskgraph >= self._plan.num_stages:
            raise ConfigError(
                "gradient_checkpoint.end_taskgraph = {}, but the last TaskGraph of the model is {}"
                .format(config.end_taskgraph, self._plan.num_stages - 1))
        last = self._plan.num_stages - 1
        self._last_stage = config.end_taskgraph if config.end_taskgraph >= 0 else last
        self._checkpoints = _collected(graph, state) if self._collects else []

    def kept(self, group: GradientGroup, forward: Forward,
             stages: Dict[Any, int]) -> Optional[Kept]:
        """What is kept for a group's gradients; None: everything."""
        kept, cuts = self.planned(group, forward, stages)
        for stage, chosen in sorted(cuts.items()):
            editor.say(self._graph, "MiB of activations in stage {} at most".format(stage),
                       -(-chosen.peak >> 20))
        return kept

    def planned(self, group: GradientGroup, forward: Forward,
                stages: Dict[Any, int]) -> Tuple[Optional[Kept], Dict[int, Cuts]]:
        """(what is kept; stage -> where it is cut, as far as that was chosen here)."""
        if self._collects:
            usable = _on_path([group], forward.ops, self._checkpoints)
            return keep_collected(
                forward, stages, self._last_stage, usable) if usable else None, {}
        actions = [self._plan.actions_of(stage) for stage in range(self._plan.num_stages)]
        planner = Planner(forward, stages, actions, self._budget or None)
        return planner.plan(self._last_stage)


def _collected(graph: Any, state: GraphState) -> List[Any]:
    """The checkpoints that the script named."""
    found = graph.get_collection(_COLLECTION)
    wrong = [each for each in found if not isinstance(each, tf.Tensor)]
    if wrong:
        raise ConfigError(
            "the collection '{}' holds {!r}, which is no tensor: put the outputs of layers into it"
            .format(_COLLECTION, wrong[0]))
    if not found:
        raise ConfigError(
            "gradient_checkpoint.type = 'collection', but the collection is empty: " + _CURE)
    checkpoints = list({t.name: t for t in found}.values())
    groups = groups_of(state)
    if not _on_path(groups, loops.topological(loops.successors(
            ancestors(t.op for group in groups for t in group.ys))), checkpoints):
        raise ConfigError(
            "gradient_checkpoint.type = 'collection', but no gradient passes through '{}'{}: {}"
            .format(checkpoints[0].name, " or the others of the collection" if len(checkpoints) > 1
                    else "", _CURE))
    return checkpoints


def _on_path(groups: Iterable[GradientGroup], ops: List[Any],
             checkpoints: List[Any]) -> List[Any]:
    """The checkpoints that lie between a trained variable and a loss; `ops`: what losses need."""
    reached = {compat.variable_key(gradient.variable) for group in groups
               for gradient in group.gradients}
    for op in ops:
        if any(t.op in reached for t in op.inputs):
            reached.add(op)
    members = set(ops)
    return [t for t in checkpoints if t.op in reached and t.op in members]


def _updates(groups: List[GradientGroup]) -> Dict[Any, List[Tuple[str, Any]]]:
    """Variable -> (name of a group, what hands its gradient on)."""
    found: Dict[Any, List[Tuple[str, Any]]] = {}
    for group in groups:
        for gradient in group.gradients:
            found.setdefault(compat.variable_key(gradient.variable), []).extend(
                (group.name, part.op) for part in parts(gradient.returned))
    return found


def _let_updates_wait(copies: Copies, updates: Dict[Any, List[Any]]) -> None:
    """An update in place waits for the copies that read the variable."""
    for copy in copies.copies.values():
        for tensor in copy.inputs:
            for update in updates.get(op_traits.aliased_variable(source_of(tensor)), []):
                editor.wait_for(update, [copy])
