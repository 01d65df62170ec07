# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which operations lie in which v1 `tf.while_loop`.

    Enter --> Merge --> Switch --> ... --> NextIteration     (one frame, named by its Enters)
                           +-----> Exit -->                  (outside again)

A frame is entered by `Enter` alone and left by `Exit` alone, so every way through the graph to an
operation passes the same ones, and one walk finds the frame of each. Loops in loops have frames in
frames: their Enters and Exits are operations of the loop around them.
"""

import heapq
from typing import Any, Container, Dict, Iterable, List, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat

_ENTERS = frozenset(["Enter", "RefEnter"])
_EXITS = frozenset(["Exit", "RefExit"])
_SWITCHES = frozenset(["RefSwitch", "Switch"])
_BACK = frozenset(["NextIteration", "RefNextIteration"])


def is_enter(op: Any) -> bool:
    """True for an operation that brings a value into a loop."""
    return op.type in _ENTERS


def is_exit(op: Any) -> bool:
    """True for an operation that brings a value out of a loop."""
    return op.type in _EXITS


def closes(op: Any) -> bool:
    """True for an operation that hands a value on to a loop's next turn."""
    return op.type in _BACK


def ends_turn(op: Any) -> bool:
    """True for the Switch that lets a loop's variable into another turn, or out."""
    return op.type in _SWITCHES and op.inputs[1].op.type == "LoopCond"


def handed_on(op: Any) -> List[Any]:
    """What a loop hands on to its next turn, for each of its variables, if `op` is its Exit."""
    if not is_exit(op) or op.inputs[0].op.type not in _SWITCHES:
        return []
    switches = [user for user in op.inputs[0].op.inputs[1].consumers() if user.type in _SWITCHES]
    return [t for switch in switches for t in switch.inputs[0].op.inputs if closes(t.op)]


def turn_of(merge: Any, ends: Container[str] = ()) -> List[Any]:
    """What a loop's variable follows from in any turn, back to what enters the loop.

    Args:
      merge: the Merge that the variable's turns begin with.
      ends: types of operations that the walk does not look behind.
    """
    frame = next((t.op.get_attr("frame_name") for t in merge.inputs if is_enter(t.op)), None)
    found = [merge]
    seen = {merge}
    for op in found:  # grows
        if op.type in ends or (is_enter(op) and op.get_attr("frame_name") == frame):
            continue
        for tensor in op.inputs:
            if tensor.op not in seen:
                seen.add(tensor.op)
                found.append(tensor.op)
    return found


def is_counter(tensor: Any) -> bool:
    """True for the number of a loop's turn: 0 in the first, then 1, and so on."""
    merge = _merge_of(tensor)
    if merge is None or len(merge.inputs) != 2 or not closes(merge.inputs[1].op):
        return False
    first, following = merge.inputs[0].op, merge.inputs[1].op.inputs[0].op
    if not is_enter(first) or tf.get_static_value(first.inputs[0]) != 0:
        return False
    return following.type in ("Add", "AddV2") and any(
        tf.get_static_value(one) == 1 and _merge_of(other) is merge
        for one, other in (following.inputs, reversed(following.inputs)))


def _merge_of(tensor: Any) -> Optional[Any]:
    """The Merge with which a turn begins that `tensor` is a variable of; None of all else."""
    while tensor.op.type in ("Enter", "Identity", "Switch"):
        tensor = tensor.op.inputs[0]
    return tensor.op if tensor.op.type == "Merge" else None


def varies(tensor: Any) -> bool:
    """True for what another turn of a loop may have another value of, by its own turns alone."""
    pending, seen = [tensor.op], set()
    while pending:
        op = pending.pop()
        if op not in seen and compat.in_loop(op):
            seen.add(op)
            if any(closes(t.op) for t in op.inputs):
                return True
            pending.extend(t.op for t in op.inputs)
    return False


def successors(ops: Iterable[Any]) -> Dict[Any, List[Any]]:
    """For each of `ops` those of `ops` that depend on it directly, by data or control."""
    found: Dict[Any, List[Any]] = {op: [] for op in ops}
    for op in found:
        for source in [tensor.op for tensor in op.inputs] + list(op.control_inputs):
            if source in found:
                found[source].append(op)
    return found


def topological(successors: Dict[Any, List[Any]]) -> List[Any]:
    """The operations, each behind all that it depends on; what closes a loop does not count.

    Ids will not do: an operation in a `tf.cond` is numbered before the Switch in front of it.

    Args:
      successors: as `frames` takes it.
    """
    waiting = dict.fromkeys(successors, 0)
    for op, users in successors.items():
        if op.type not in _BACK:
            for user in users:
                waiting[user] += 1
    ready = [(compat.op_id(op), op) for op, number in waiting.items() if number == 0]
    heapq.heapify(ready)
    found: List[Any] = []
    while ready:
        op = heapq.heappop(ready)[1]
        found.append(op)
        for user in successors[op] if op.type not in _BACK else ():
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, (compat.op_id(user), user))
    return found


def frames(successors: Dict[Any, List[Any]]) -> Dict[Any, Tuple[str, ...]]:
    """The names of the frames around each operation that is in a loop, the outermost first.

    Enters and Exits count to the loop that they lead into or out of.

    Args:
      successors: `successors` of a set of operations that holds all that its members depend on.
    """
    dependent: Set[Any] = {op for users in successors.values() for op in users}
    stacks: Dict[Any, Tuple[str, ...]] = {}
    pending = [(op, ()) for op in successors if op not in dependent]  # type: List[Any]
    while pending:
        op, outside = pending.pop()
        if op in stacks:
            continue
        stack = outside + (op.get_attr("frame_name").decode(),) if is_enter(op) else outside
        stacks[op] = stack
        after = stack[:-1] if is_exit(op) else stack
        pending.extend((user, after) for user in successors[op])
    return {op: stack for op, stack in stacks.items() if stack}


def outermost_loops(successors: Dict[Any, List[Any]]) -> Dict[Any, str]:
    """The frame name of the outermost loop around each operation that is in one."""
    return {op: stack[0] for op, stack in frames(successors).items()}


def members(loops: Dict[Any, str]) -> Dict[str, List[Any]]:
    """The operations of each loop, in the order of creation."""
    found: Dict[str, List[Any]] = {}
    for op in sorted(loops, key=compat.op_id):
        found.setdefault(loops[op], []).append(op)
    return found
