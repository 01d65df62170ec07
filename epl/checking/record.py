# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step took and gave on one worker."""

import hashlib
from typing import Any, Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat

_COLLECTIONS = (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES,
                tf.GraphKeys.MODEL_VARIABLES, tf.GraphKeys.LOCAL_VARIABLES,
                tf.GraphKeys.METRIC_VARIABLES)


class Taken(NamedTuple):
    """What a step was given on one worker; travels to the chief.

    Attributes:
      fed: name of a tensor -> what the script fed.
      sources: name of a source's tensor -> what it gave to every clone; of what all workers take
        from the chief, on the chief alone.
      draws: name of a random operation's tensor -> what it drew for every clone; likewise.
      digests: name of a variable -> digest of its value before the step.
      problem: why the step cannot be compared, or "".
    """

    fed: Dict[str, Any]
    sources: Dict[str, List[Any]]
    draws: Dict[str, List[Any]]
    digests: Dict[str, str]
    problem: str = ""


class Given(NamedTuple):
    """What came out of a step: of this worker's, or of the reference's.

    Attributes:
      fetches: name of a tensor -> its value; the losses among them.
      gradients: what a gradient is called -> its value, sparse ones as [values, indices].
      variables: name -> value after the step.
    """

    fetches: Dict[str, Any]
    gradients: Dict[str, List[Any]]
    variables: Dict[str, Any]


def variables_of(graph: Any) -> Dict[str, Any]:
    """All variables of a graph, global and local, by the names of their operations."""
    found = {}
    for key in _COLLECTIONS:
        for variable in graph.get_collection(key):
            found[compat.variable_key(variable).name] = variable
    return found


def read_variables(session: Any) -> Dict[str, Any]:
    """The values of all variables that are initialized; copies, which no update reaches."""
    variables = variables_of(session.graph)
    try:
        values = session.run(variables)
    except tf.errors.FailedPreconditionError:  # some are not initialized
        values = {}
        for name, variable in variables.items():
            try:
                values[name] = session.run(variable)
            except tf.errors.FailedPreconditionError:
                pass
    return {name: np.array(value) for name, value in values.items()}


def digest(value: Any) -> str:
    """Equal for arrays that are equal to the bit."""
    array = np.asarray(value)
    data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return hashlib.sha256(repr((array.dtype.str, array.shape)).encode() + data).hexdigest()
