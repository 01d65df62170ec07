# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors of a step that TensorFlow words for one device: what they come from on several."""

import contextlib
from typing import Any, Dict, Iterator, List

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.graph_state import state_of
from epl.rewrite import joined, written
from epl.rewrite.lengths import FORMS
from epl.runtime.runs import Run

_COUNTS_ROWS = (
    "{error}\n\nEPL: '{name}'{place} is fed {number}, as many as a step has rows, and says how "
    "large '{user}'{at} is. A micro-batch or replica has fewer rows, those that it is fed: write "
    "tf.shape(x)[0], x being a tensor with rows, in its place")


_OF_ALL_ROWS = (
    "{error}\n\nEPL: a step computes '{name}'{place} from the rows of all clones, for what is "
    "fetched, registered or written; if it needs a number of rows that the script wrote down, as "
    "that of a state of zeros, this is the number of one clone. Take it from tf.shape(batch)[0], "
    "or fetch what depends on it in a run of its own, before or after the step")


@contextlib.contextmanager
def told(graph: Any, run: Run, fed: Dict[Any, Any]) -> Iterator[None]:
    """An error of TensorFlow's in a step says what it comes from, where that is known.

    Args:
      graph: in which it runs.
      run: the step.
      fed: what the script feeds it, key -> array.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        said = (joined.explained(graph, error) or _rows_counted(run, fed, error)
                or _from_all_rows(graph, error))
        if said is None:
            raise
        raise tf.errors.InvalidArgumentError(error.node_def, error.op, said) from None
    except tf.errors.OpError as error:
        said = joined.explained(graph, error)
        if said is None:
            raise
        raise tf.errors.InvalidArgumentError(error.node_def, error.op, said) from None


def _from_all_rows(graph: Any, error: Any) -> Any:
    """What to say if what a step computes from all rows is what fails."""
    op = None if error.op is None else written.computed_once(state_of(graph), error.op)
    return op and _OF_ALL_ROWS.format(error=error.message, name=op.name, place=compat.made_at(op))


def _rows_counted(run: Run, fed: Dict[Any, Any], error: Any) -> Any:
    """What to say if a number that is fed counts the rows of a step, where parts have fewer."""
    if all(group.clones is None for group in run.groups):
        return None
    arrays = [(compat.fed_tensor(key), np.asarray(value)) for key, value in fed.items()]
    rows = {size for _, array in arrays for size in array.shape}
    for tensor, array in arrays:
        user = _sized_by(tensor) if not array.shape and array.dtype.kind in "iu" else None
        if user is not None and int(array) in rows:
            return _COUNTS_ROWS.format(
                error=error.message, name=tensor.op.name, place=compat.made_at(tensor.op),
                number=int(array), user=user.name, at=compat.made_at(user))
    return None


def _sized_by(number: Any) -> Any:
    """An operation that makes a tensor of as many rows as `number` says; None if there is none."""
    pending: List[Any] = [number]
    seen = set()
    for tensor in pending:  # grows
        for user in tensor.consumers():
            if tensor.name in [user.inputs[n].name for n in FORMS.get(user.type, ())
                               if n < len(user.inputs)]:
                return user
            if user.name not in seen and user.outputs and user.outputs[0].dtype.is_integer:
                seen.add(user.name)
                pending.extend(user.outputs)
    return None
