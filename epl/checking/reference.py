# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What plain TensorFlow makes of a step, and how much rounding changes that.

The step runs twice. The second time every variable and number of the data is changed in its last
bit. What comes out differently then is rounding that the program makes large: the update of an
element whose gradient is zero in exact arithmetic, divided by its own size by Adam, say.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl.checking.join import Batch, draw
from epl.checking.program import Program, Result
from epl.checking.record import Given, Taken
from epl.checking.script import Script
from epl.checking.wanted import Wanted
from epl.errors import CheckError


class Outcome(NamedTuple):
    """What plain TensorFlow gives.

    Attributes:
      given: the results of the step.
      shaken: those of the step whose variables and data differ in the last bit.
      undrawn: names of random operations that drew otherwise than in the job.
      left_out: names of values that cannot be compared.
    """

    given: Given
    shaken: Given
    undrawn: List[str]
    left_out: List[str]


class Reference:
    """One kind of step, in plain TensorFlow on one device with the whole batch."""

    def __init__(self, graph: Any, script: Script, wanted: Wanted, batch: Batch,
                 variables: Sequence[str]):
        """Build the graph. Raises CheckError if that is not possible."""
        self._wanted = wanted
        gradients = [t.name for _, tensors in wanted.gradients for t in tensors]
        self._fetches = list(dict.fromkeys(wanted.fetches + [t.name for t in wanted.losses]))
        outputs = list(dict.fromkeys(self._fetches + gradients))
        try:
            self._program = Program(graph, script, outputs, wanted.targets, batch.values,
                                    variables, wanted.tables, wanted.writers)
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise unfit(error) from error

    def run(self, before: Dict[str, Any], batch: Batch, workers: Sequence[Taken]) -> Outcome:
        """The step on `batch` from the values `before` of the variables.

        Raises:
          CheckError: plain TensorFlow fails in it.
        """
        try:
            draws, undrawn = self._draws(before, batch, workers)
            exact = self._program.run(before, dict(batch.values, **draws))
            apart = self._program.run(shaken(before), dict(shaken(batch.values), **draws))
        except (ValueError, tf.errors.OpError) as error:
            raise unfit(error) from error
        return Outcome(self._given(exact), self._given(apart), undrawn, [])

    def close(self) -> None:
        self._program.close()

    def _given(self, result: Result) -> Given:
        return Given({name: result.outputs[name] for name in self._fetches},
                     {name: [result.outputs[t.name] for t in tensors]
                      for name, tensors in self._wanted.gradients}, result.variables)

    def _draws(self, before: Dict[str, Any], batch: Batch,
               workers: Sequence[Taken]) -> Tuple[Dict[str, Any], List[str]]:
        """What the clones' random operations drew, as draws for the whole batch."""
        names = sorted(self._wanted.drawn)
        if not names:
            return {}, []
        draws, undrawn = self._program.values(before, batch.values, names), []
        for name in names:
            pieces = [piece for worker in workers for piece in worker.draws.get(name, [])]
            found = draw(pieces, np.shape(draws[name]))
            if found is None:
                undrawn.append(name)
            else:
                draws[name] = found
        return draws, undrawn


def unfit(error: Exception) -> CheckError:
    """Says that the script's graph does not run on one device, and why."""
    text = str(getattr(error, "message", error)).strip().splitlines()
    return CheckError("plain TensorFlow cannot run this step: {}".format(
        text[0] if text else type(error).__name__))


def shaken(values: Dict[str, Any]) -> Dict[str, Any]:
    """`values` with every floating-point number but 0 moved to the next one, up or down."""
    random = np.random.RandomState(0)
    result = {}
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            up = np.where(random.randint(0, 2, array.shape), np.inf, -np.inf)
            array = np.where(array == 0, array, np.nextafter(array, up.astype(array.dtype)))
        result[name] = array
    return result
