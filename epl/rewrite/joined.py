# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the rows of several parts are joined, and what to say if they do not go together.

Parts that are padded to their own longest row have rows of other lengths. TensorFlow's error names
an operation that the script has never heard of.
"""

from typing import Any, Dict, Optional

from epl import compat
from epl.ir.graph_state import state_of
from epl.rewrite.lengths import new_axes

_UNEQUAL = (
    "the rows of '{name}'{place}, {shape}, are joined with those of other micro-batches, replicas "
    "or workers, for what a step fetches, registers or writes of them, and the parts have rows of "
    "different sizes: each is as long as its own longest row. Pad to a fixed length "
    "(padded_shapes, maxlen=...), or fetch, register or write a number for each row. TensorFlow "
    "says: {error}")

# How those who join say that sizes differ: tf.concat, NumPy, Horovod.
_SAYS = ("ConcatOp", "imensions", "Mismatched", "must match")


_FLAT = (
    "the parts of a step have different lengths, and '{name}'{place} has rows and lengths in one "
    "axis: what is fetched, registered or written of it would take places of one row for those of "
    "another. Pad to a fixed length (padded_shapes, maxlen=...)")

# What fails where such a place is behind the last one.
_TAKE_PLACES = frozenset(["GatherNd", "GatherV2"])


class _Joined:
    """What is joined.

    Attributes:
      tensors: name of an operation that joins rows -> the tensor of the script whose rows they are.
      flat: of these one that has rows and another axis, of unknown length, in one; or None.
    """

    def __init__(self) -> None:
        self.tensors: Dict[str, Any] = {}
        self.flat: Any = None

    def find(self, graph: Any, failed: Any) -> Any:
        """The script's tensor that `failed` joins, or whose sizes it checks before; maybe None."""
        for name, tensor in self.tensors.items():
            op = graph.get_operation_by_name(name)
            if failed is op or any(failed in source.op.control_inputs for source in op.inputs):
                return tensor
        return None


def note(op: Any, tensor: Any) -> None:
    """`op` joins the rows of `tensor` with those of other parts."""
    joined = state_of(op.graph).record(_Joined)
    joined.tensors[op.name] = joined.tensors.get(tensor.op.name, tensor)
    if joined.flat is None and _is_flat(tensor):
        joined.flat = joined.tensors[op.name]


def check_flat(graph: Any) -> None:
    """Raises ValueError if what is joined needs parts of equal lengths; they have others."""
    joined: Optional[_Joined] = state_of(graph).find(_Joined)
    if joined is not None and joined.flat is not None:
        raise ValueError(_FLAT.format(name=joined.flat.op.name,
                                      place=compat.made_at(joined.flat.op)))


def _is_flat(tensor: Any) -> bool:
    """True if a Reshape behind `tensor` has put rows and an axis of unknown length in one."""
    pending = [tensor.op]
    seen = set()
    while pending:
        op = pending.pop()
        if op in seen:
            continue
        seen.add(op)
        more = new_axes(op)
        if more > 0:
            continue
        if more < 0 and None in compat.static_shape(op.inputs[0])[1:]:
            return True
        pending.extend(t.op for t in op.inputs)
    return False


def explained(graph: Any, error: Any) -> Optional[str]:
    """What to say instead of an error of TensorFlow's that comes from rows of different sizes.

    Args:
      graph: in which a step failed.
      error: what it failed with, a `tf.errors.OpError`.
    """
    joined: Optional[_Joined] = state_of(graph).find(_Joined)
    if joined is None or error.op is None:
        return None
    tensor, flat = joined.find(graph, error.op), joined.flat
    said = [line for line in error.message.splitlines() if any(words in line for words in _SAYS)]
    if flat is not None and error.op.type in _TAKE_PLACES:
        return "{}\n\nEPL: if {}".format(error.message, _FLAT.format(
            name=flat.op.name, place=compat.made_at(flat.op)))
    if tensor is None or not said:
        return None
    return _UNEQUAL.format(name=tensor.op.name, place=compat.made_at(tensor.op),
                           shape=tensor.shape, error=said[0].strip())
