# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""TaskGraphs are intervals of op ids.

TensorFlow numbers the operations of a graph as they are created. Entering a strategy notes the
number of the last one; the TaskGraph of an operation is found by bisection:

    op ids   1 .. 17 | 18 ........ 93 | 94 .... 120
                     ^ replicate()     ^ replicate()
    TaskGraph    0   |       0        |     1          (earlier operations join the first)
"""

import bisect
from typing import List, NamedTuple


class Strategy:
    """How a part of the model is laid out over devices; what scripts use derives from it.

    Attributes:
      name: what the user called it, or "".
      device_count: devices that one model replica uses for it.
    """

    def __init__(self, name: str, device_count: int):
        self.name = name
        self.device_count = device_count


class TaskGraph(NamedTuple):
    """The operations created under one strategy annotation: one stage of the model.

    Attributes:
      position: 0-based position among the graph's TaskGraphs.
      strategy: what it was annotated with.
    """

    position: int
    strategy: Strategy

    @property
    def name(self) -> str:
        """What the user called it, or ""."""
        return self.strategy.name

    @property
    def device_count(self) -> int:
        """Devices that one model replica uses for it."""
        return self.strategy.device_count


class Annotations:
    """The TaskGraphs of one graph, in the order in which they were annotated."""

    def __init__(self) -> None:
        self._task_graphs: List[TaskGraph] = []
        self._starts: List[int] = []  # last op id before each interval
        self._owners: List[int] = []  # TaskGraph index of each interval

    @property
    def task_graphs(self) -> List[TaskGraph]:
        return list(self._task_graphs)

    def begin(self, last_op_id: int, strategy: Strategy) -> TaskGraph:
        """Operations created after `last_op_id` belong to a new TaskGraph.

        A TaskGraph that has got no operation until then is replaced.
        """
        if self._starts and self._starts[-1] == last_op_id \
                and self._owners.count(len(self._task_graphs) - 1) == 1:
            self._task_graphs.pop()
        task_graph = TaskGraph(len(self._task_graphs), strategy)
        self._task_graphs.append(task_graph)
        self._mark(last_op_id, task_graph.position)
        return task_graph

    def resume(self, last_op_id: int, index: int) -> None:
        """Operations created after `last_op_id` belong to TaskGraph `index` again."""
        self._mark(last_op_id, index)

    def task_graph_of(self, op_id: int) -> int:
        """Index of the TaskGraph that holds the operation with this id; 0 before the first."""
        position = bisect.bisect_left(self._starts, op_id) - 1
        return self._owners[position] if position >= 0 else 0

    def before_first(self, op_id: int) -> bool:
        """True for an operation that was created before any annotation."""
        return not self._starts or op_id <= self._starts[0]

    def _mark(self, last_op_id: int, owner: int) -> None:
        if self._starts and self._starts[-1] == last_op_id:
            self._owners[-1] = owner
            return
        self._starts.append(last_op_id)
        self._owners.append(owner)
