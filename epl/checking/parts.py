# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A step in plain TensorFlow, part after part: for programs that cannot take the whole batch.

    part 0 ---> gradients --+
    part 1 ---> gradients --+--> mean (or sum), by NumPy --> the update, given these gradients
    part 2 ---> gradients --+

So it is done where the number of a part's rows is fixed in the graph, and with batch normalisation,
which normalises each part by itself.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl.checking.join import Batch, fed_sparse, feed_of, split_sparse
from epl.checking.program import Program
from epl.checking.record import Given, Taken, digest
from epl.checking.reference import Outcome, shaken, unfit
from epl.checking.script import Script, split
from epl.checking.wanted import Wanted

_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")

_Part = Dict[str, Any]  # name of a tensor -> what it is given


def reason(graph: Any, wanted: Wanted, batch: Batch, parts: int) -> str:
    """Why a step of so many parts has to be run part after part; "" if it has not."""
    if batch.problem:
        return batch.problem
    for name in sorted(batch.values):
        shape = graph.get_tensor_by_name(name).shape
        if not shape.is_compatible_with(np.shape(batch.values[name])):
            return "'{}' has the fixed shape {}".format(name, shape)
    for name in wanted.reached if parts > 1 else ():
        op = graph.get_operation_by_name(name)
        if op.type in _BATCH_NORMS and op.get_attr("is_training"):
            return "'{}' normalises each part by itself".format(name)
    return ""


class PartsReference:
    """One kind of step, in plain TensorFlow on one device, a part at a time."""

    def __init__(self, graph: Any, script: Script, wanted: Wanted, variables: Sequence[str],
                 clones: int, average: bool):
        """Prepare it.

        Args:
          graph: the job's graph.
          script: what the script built of it.
          wanted: what the step consists of.
          variables: names of the variables.
          clones: how many clones a worker has.
          average: gradients are averaged, not added up.
        """
        self._graph, self._script, self._wanted = graph, script, wanted
        self._variables, self._clones, self._average = variables, clones, average
        writers = set(wanted.writers)
        fetches = list(dict.fromkeys(wanted.fetches + [t.name for t in wanted.losses]))
        self._early = [name for name in fetches if writers.isdisjoint(script.behind(
            [split(name)[0]], writers.__contains__))]
        self._late = [name for name in fetches if name not in self._early]
        self._programs: Dict[str, Program] = {}

    def run(self, before: Dict[str, Any], batch: Batch, workers: Sequence[Taken]) -> Outcome:
        """The step from the values `before` of the variables.

        Raises:
          CheckError: plain TensorFlow cannot run it.
        """
        del batch
        self._known = {name: feed_of(self._graph.get_tensor_by_name(name))
                       for name in workers[0].fed}
        once = {name: pieces[:1] for name, pieces in workers[0].sources.items()
                if not all(name in worker.sources for worker in workers)}
        parts = [part for worker in workers for part in self._parts(
            worker._replace(sources=dict(worker.sources, **once)))]
        draws, undrawn = self._draws(workers, len(parts))
        try:
            exact, left_out = self._step(before, parts, draws)
            apart, _ = self._step(shaken(before), [shaken(part) for part in parts], draws)
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise unfit(error) from error
        return Outcome(exact, apart, undrawn, left_out)

    def close(self) -> None:
        for program in self._programs.values():
            program.close()

    def _parts(self, worker: Taken) -> List[_Part]:
        """What each part of a worker's batch was given."""
        count = max([len(p) for p in worker.sources.values() if len(p) > 1], default=self._clones)
        parts: List[_Part] = [{} for _ in range(count)]
        for name, value in worker.fed.items():
            axis = self._known[name].axis if self._known[name].known else None
            pieces = [value] * count if axis is None or count == 1 else np.array_split(
                value, count, axis)
            for part, piece in zip(parts, pieces):
                part[name] = piece
        for triple in fed_sparse(self._graph, worker.fed) if count > 1 else ():
            for part, sparse in zip(parts, split_sparse([worker.fed[n] for n in triple], count)):
                part.update(zip(triple, sparse))
        for name, pieces in worker.sources.items():
            for number, part in enumerate(parts):
                part[name] = pieces[number if len(pieces) > 1 else 0]
        return parts

    @staticmethod
    def _draws(workers: Sequence[Taken], count: int) -> Tuple[List[_Part], List[str]]:
        """What each part drew; names of random operations of which that is not known."""
        draws: List[_Part] = [{} for _ in range(count)]
        undrawn = []
        for name in workers[0].draws:
            pieces = [piece for worker in workers for piece in worker.draws.get(name, [])]
            if len(pieces) not in (1, count):
                undrawn.append(name)
                continue
            for number, draw in enumerate(draws):
                draw[name] = pieces[number if len(pieces) > 1 else 0]
        return draws, undrawn

    def _step(self, before: Dict[str, Any], parts: List[_Part],
              draws: List[_Part]) -> Tuple[Given, List[str]]:
        """What the step gives; names of what cannot be told from the parts."""
        tensors = [t.name for _, pair in self._wanted.gradients for t in pair]
        forward = self._program("forward", self._early + tensors, [], parts[0])
        found = [forward.run(before, dict(part, **draw)).outputs
                 for part, draw in zip(parts, draws)]
        gradients = {name: self._gradient([t.name for t in pair], found)
                     for name, pair in self._wanted.gradients}
        fed = {t.name: value for name, pair in self._wanted.gradients
               for t, value in zip(pair, gradients[name])}
        update = self._program("update", self._late, self._wanted.targets,
                               dict(parts[0], **fed))
        updated = [update.run(before, dict(part, **dict(draw, **fed))).variables
                   for part, draw in zip(parts, draws)]
        variables = {name: value for name, value in updated[0].items()
                     if len({digest(one[name]) for one in updated}) == 1}
        fetches = {name: self._fetch(name, [one[name] for one in found]) for name in self._early}
        left_out = self._late + [name for name, value in fetches.items() if value is None]
        return Given({name: value for name, value in fetches.items() if value is not None},
                     gradients, variables), left_out + [
                         name for name in updated[0] if name not in variables]

    def _program(self, kind: str, outputs: List[str], targets: List[str], given: _Part) -> Program:
        if kind not in self._programs:
            self._programs[kind] = Program(
                self._graph, self._script, outputs, targets, given, self._variables,
                self._wanted.tables, self._wanted.writers)
        return self._programs[kind]

    def _gradient(self, names: List[str], found: List[Dict[str, Any]]) -> List[Any]:
        """A gradient of all parts: dense, or values and indices."""
        columns = [[one[name] for one in found] for name in names]
        if len(names) == 1:
            return [self._merged(columns[0])]
        values = np.concatenate(columns[0])
        if self._average:
            values = (values / len(found)).astype(values.dtype)
        return [values, np.concatenate(columns[1])]

    def _merged(self, values: List[Any]) -> Any:
        array = np.asarray(values)
        total = array.sum(0, dtype=np.float64 if array.dtype.kind == "f" else None)
        return (total / len(values) if self._average else total).astype(array.dtype)

    def _fetch(self, name: str, values: List[Any]) -> Optional[Any]:
        """A fetch of all parts: a loss merged, rows joined, anything else not known."""
        if name in self._wanted.differentiated and np.asarray(values[0]).dtype.kind == "f":
            return self._merged(values)
        if np.ndim(values[0]) == 0:
            return values[0] if len({digest(value) for value in values}) == 1 else None
        return np.concatenate(values)
