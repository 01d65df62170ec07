# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which tensors of the forward pass are kept for the backward pass, and what is computed again."""

import bisect
from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Set, Tuple

from epl.rewrite import op_traits
from epl.rewrite.recompute.forward import Forward, source_of


class Kept(NamedTuple):
    """What is kept.

    Attributes:
      tensors: names of those that are kept, beside what cannot be computed again.
      cuts: positions in the order of the forward pass at which a segment ends, the first first.
        What is behind the last one is kept as a whole.
      repeated: the operations that may be computed again.
    """

    tensors: FrozenSet[str]
    cuts: List[int]
    repeated: Set[Any]

    def segment_of(self, position: int) -> int:
        """The segment that an operation belongs to."""
        return bisect.bisect_left(self.cuts, position)


def keep_collected(forward: Forward, stages: Dict[Any, int], last_stage: int,
                   collected: Iterable[Any]) -> Kept:
    """The script says what is kept.

    Args:
      forward: the forward pass.
      stages: stage of each of its operations.
      last_stage: in those behind it nothing is computed again.
      collected: the checkpoints that its backward pass passes through.
    """
    chosen = [t for t in collected if stages[t.op] <= last_stage]
    ends: Dict[int, int] = {}
    for op in forward.ops:
        ends[stages[op]] = forward.position[op]
    cuts = {forward.position[t.op] for t in chosen}
    cuts.update(end for stage, end in ends.items() if stage <= last_stage and stage < max(ends))
    repeated = _before(forward, [t.op for t in chosen])
    return with_smallest(forward, Kept(
        frozenset([t.name for t in chosen]) | borders(forward, stages), sorted(cuts),
        {op for op in repeated if stages[op] <= last_stage}))


def read_again(forward: Forward, kept: Kept) -> Dict[str, Tuple[Any, int]]:
    """What the backward pass reads of what is computed again.

    Returns:
      Name of a tensor that is read -> (the tensor whose memory it is, its segment).
    """
    found = {}
    for read in forward.reads:
        source = source_of(read.tensor)
        if source.op in kept.repeated and source.name not in kept.tensors \
                and forward.can_repeat(source.op):
            found[read.tensor.name] = source, kept.segment_of(forward.position[source.op])
    return found


def borders(forward: Forward, stages: Dict[Any, int]) -> FrozenSet[str]:
    """Names of what one stage computes and another one, or its backward pass, reads."""
    found = {t.name for op in forward.ops for t in op.inputs
             if t.op in stages and stages[t.op] != stages[op]}
    found.update(read.tensor.name for read in forward.reads
                 if stages[read.tensor.op] != stages[forward.ops[read.position]])
    return frozenset(found)


def _before(forward: Forward, ops: Iterable[Any]) -> Set[Any]:
    """What `ops` are computed by, they themselves left out unless others of them need them."""
    found: Set[Any] = set()
    pending = list(ops)
    while pending:
        for tensor in pending.pop().inputs:
            if tensor.op not in found and tensor.op in forward.position:
                found.add(tensor.op)
                pending.append(tensor.op)
    return found


def with_smallest(forward: Forward, kept: Kept) -> Kept:
    """Keep what is smallest behind everything that cannot be computed again.

    Dropout draws a float for every element, compares it with a rate, and multiplies by the outcome:
    a byte for each will do.
    """
    read = {each.tensor.name for each in forward.reads}
    found: Set[str] = set()
    for op in forward.ops:
        if not forward.can_repeat(op) and op_traits.is_random(op):
            found.update(_smallest_behind(forward, t, read).name for t in op.outputs)
    return kept._replace(tensors=kept.tensors | found)


def _smallest_behind(forward: Forward, tensor: Any, read: Set[str]) -> Any:
    """The smallest of the tensors that follow from `tensor` alone, one by one."""
    best = tensor
    while tensor.name not in read:
        users = [op for op in tensor.consumers()
                 if op in forward.position and op.type not in op_traits.SHAPES]
        if len(users) != 1 or not forward.can_repeat(users[0]) or len(users[0].outputs) != 1 \
                or any(t is not tensor and not _is_small(t) for t in users[0].inputs):
            break
        tensor = users[0].outputs[0]
        if _size(tensor) < _size(best):
            best = tensor
    return best


def _is_small(tensor: Any) -> bool:
    return tensor.op.type == "Const" or tensor.shape.ndims == 0


def _size(tensor: Any) -> int:
    """Bytes, if each unknown dimension were 1."""
    size = int(tensor.dtype.base_dtype.size)
    for dimension in tensor.shape.as_list() if tensor.shape.ndims is not None else ():
        size *= dimension or 1
    return size
