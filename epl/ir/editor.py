# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every change to an operation that is there already, and a record of them.

A session that knows an operation goes on to run it as it was; so a change is noted in the graph's
record (`GraphState.changes`). `epl.explain(passes=True)` shows what each pass changed.
"""

import collections
import contextlib
import time
from typing import Any, Counter, Iterable, Iterator, List

from epl import compat
from epl.ir.graph_state import state_of

_NAMES = 3  # of the first operations that a pass made, for people


class Work:
    """What one pass did to a graph, over all its runs.

    Attributes:
      name: of the pass.
      runs: how often it ran.
      seconds: what that took.
      made: operations that it added.
      first_made: names of the first of them.
      changed: kind of a change -> how often it was made.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = 0
        self.seconds = 0.0
        self.made = 0
        self.first_made: List[str] = []
        self.changed: Counter[str] = collections.Counter()

    def describe(self) -> str:
        """A line for people."""
        found = ["{} {}".format(number, what) for what, number in sorted(self.changed.items())]
        if self.made:
            found.insert(0, "{} operation(s) added ({}{})".format(
                self.made, ", ".join(self.first_made), ", .." if self.made > _NAMES else ""))
        return "{:<14} {:>4} x {:>8.1f} ms  {}".format(
            self.name, self.runs, 1000 * self.seconds, "; ".join(found) or "nothing changed")


class History:
    """The passes that have run on a graph, in the order in which they first did.

    Attributes:
      works: what each did.
      open: those that are running, the innermost last.
    """

    def __init__(self) -> None:
        self.works: List[Work] = []
        self.open: List[Work] = []

    def of(self, name: str) -> Work:
        """What the pass `name` did."""
        for work in self.works:
            if work.name == name:
                return work
        self.works.append(Work(name))
        return self.works[-1]


@contextlib.contextmanager
def working(graph: Any, name: str) -> Iterator[None]:
    """What is added and changed meanwhile is the pass `name`'s doing."""
    history = state_of(graph).record(History)
    work = history.of(name)
    first, begun = compat.last_id(graph) + 1, time.perf_counter()
    history.open.append(work)
    try:
        yield
    finally:
        history.open.pop()
        work.runs += 1
        work.seconds += time.perf_counter() - begun
        added = compat.last_id(graph) + 1 - first
        if added and len(work.first_made) < _NAMES:
            work.first_made += [op.name for op in compat.operations_from(
                graph, first, _NAMES - len(work.first_made))]
        work.made += added


@contextlib.contextmanager
def model(graph: Any, scope: str, stage: int) -> Iterator[None]:
    """What is built meanwhile is part of the model, as if the script had built it in a stage.

    Args:
      graph: the script's graph.
      scope: absolute name scope.
      stage: 0-based.
    """
    first = compat.last_id(graph) + 1
    with compat.inserted(graph, scope):
        yield
    state_of(graph).provenance.adopt(first, compat.last_id(graph), stage)


def replace_input(consumer: Any, old: Any, new: Any) -> None:
    """Make `consumer` read the tensor `new` wherever it reads `old`.

    Args:
      consumer: an operation.
      old: one of its inputs.
      new: a tensor of the same dtype.
    """
    compat.replace_input(consumer, old, new)
    _note(consumer, "input(s) replaced")


def wait_for(op: Any, others: Iterable[Any]) -> None:
    """Make `op` wait for other operations.

    Args:
      op: an operation.
      others: those that are to run before it; none is allowed.
    """
    others = list(others)
    if others:
        compat.add_control_inputs(op, others)
        _note(op, "control edge(s) added", len(others))


def wait_no_longer(op: Any, unwanted: Any) -> None:
    """Make `op` wait no longer for the operations in `unwanted`.

    Args:
      op: an operation.
      unwanted: a collection of operations; what it waits for is taken out.
    """
    before = len(op.control_inputs)
    compat.remove_control_inputs(op, unwanted)
    _note(op, "control edge(s) removed", before - len(op.control_inputs))


def put_on(op: Any, device: str) -> None:
    """Put `op` on a device.

    Args:
      op: an operation.
      device: TensorFlow's name of it, such as "/device:GPU:0".
    """
    if op.device != device:
        compat.set_device(op, device)
        _note(op, "operation(s) placed")


def forget_colocation(op: Any) -> None:
    """Let `op` be placed by its device alone."""
    if compat.colocated_with(op):
        compat.forget_colocation(op)
        _note(op, "colocation(s) dropped")


def set_int_attribute(op: Any, name: str, value: int) -> None:
    """Change an integer attribute of an operation that no session has run yet."""
    compat.set_int_attribute(op, name, value)
    _note(op, "attribute(s) set")


def set_shape(op: Any, shape: List[int]) -> None:
    """Change the shape of a variable that no session has run yet.

    Args:
      op: the operation that holds it.
      shape: the new one.
    """
    compat.set_shape(op, shape)
    _note(op, "shape(s) set")


def set_value(op: Any, value: Any) -> None:
    """Give a constant that no session has run yet another value.

    Args:
      op: the constant.
      value: a `TensorProto` of the same type.
    """
    compat.set_value(op, value)
    _note(op, "value(s) set")


def set_function(op: Any, name: str, function: str) -> None:
    """Let an operation that no session has run yet call another function.

    Args:
      op: the operation.
      name: of its attribute.
      function: name of a function of the graph.
    """
    compat.set_function(op, name, function)
    _note(op, "function(s) set")


def say(graph: Any, what: str, number: int = 1) -> None:
    """Let `epl.explain(passes=True)` show `number` of `what` for the pass that is running.

    Args:
      graph: the script's graph.
      what: for people, behind the number; the numbers of one text are added up.
      number: how many.
    """
    history = state_of(graph).record(History)
    if history.open:
        history.open[-1].changed[what] += number


def _note(op: Any, what: str, number: int = 1) -> None:
    if number:
        state_of(op.graph).note_change(op)
        say(op.graph, what, number)
