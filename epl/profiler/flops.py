# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of a step, from its graph and the shapes of a traced run.

What counts as how many says `ir.flops`. The body of a loop counts once.
"""

import collections
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl.ir.flops import count
from epl.ir.known_shapes import copy_with_shapes, executed_shapes
from epl.profiler.action_map import map_all
from epl.profiler.trace import full_trace
from epl.rewrite.walk import data_ancestors

_LISTED = 10
_VIEWS = ("scope", "op", "graph")


class Flops(NamedTuple):
    """The floating-point operations of a step.

    Attributes:
      by_op: name of an operation -> its number; those with none are left out.
      types: name of an operation -> its type.
      by_stage: (stage, "forward" or "backward") -> the number of all copies in this worker.
      unknown: operations whose shapes are not known, which are not counted.
    """

    by_op: Dict[str, int]
    types: Dict[str, str]
    by_stage: Dict[Tuple[int, str], int]
    unknown: Tuple[str, ...]

    @property
    def total(self) -> int:
        """Of all operations."""
        return sum(self.by_op.values())

    def scalars(self) -> List[Tuple[str, int]]:
        """(name for TensorBoard, number) of the step and of each stage."""
        return [("flops/step", self.total)] + [
            ("flops/stage_{}/{}".format(stage, kind), number)
            for (stage, kind), number in sorted(self.by_stage.items())]

    def describe(self, view: str = "scope") -> str:
        """The total, the stages and the largest parts, as text.

        Args:
          view: what the parts are: "scope" (the first two name scopes), "op" (types) or "graph"
            (single operations).
        """
        parts: Dict[str, int] = collections.Counter()
        for name, number in self.by_op.items():
            parts[{"scope": "/".join(name.split("/")[:-1][:2]) or name, "op": self.types[name],
                   "graph": name}[view]] += number
        lines = ["{:.6f} GFLOPs in a step".format(self.total / 1e9)]
        lines += ["stage {}, {}: {:.6f} GFLOPs".format(stage, kind, number / 1e9)
                  for (stage, kind), number in sorted(self.by_stage.items())]
        largest = sorted(parts.items(), key=lambda part: (-part[1], part[0]))
        lines += ["  {:.6f} {}".format(number / 1e9, name) for name, number in largest[:_LISTED]]
        if len(largest) > _LISTED:
            lines.append("  and {} more".format(len(largest) - _LISTED))
        if self.unknown:
            lines.append("not counted, as their shapes are not known: {} operation(s), such as {}"
                         .format(len(self.unknown), self.unknown[0]))
        return "\n".join(lines)


def step_flops(graph: Any, step_stats: Any) -> Flops:
    """The floating-point operations of a traced run of `graph`, in all copies of the model.

    Args:
      graph: what was run.
      step_stats: `RunMetadata.step_stats` of a run with `RunOptions.FULL_TRACE`.
    """
    ran = {node.node_name for stats in step_stats.dev_stats for node in stats.node_stats}
    # What TensorFlow's graph optimizer fused did not run under its own name.
    needed = {op.name for op in data_ancestors(
        op for op in graph.get_operations() if op.name in ran)}
    copied = copy_with_shapes(graph, executed_shapes(graph, step_stats))
    by_op, unknown = count(op for op in copied.get_operations() if op.name in needed)
    by_stage: Dict[Tuple[int, str], int] = collections.Counter()
    for each in map_all(graph):
        for name, number in by_op.items():
            action = each.actions.get(name)
            if action is not None:
                by_stage[action.stage, action.kind] += number
    types = {name: copied.get_operation_by_name(name).type for name in by_op}
    return Flops(by_op, types, dict(by_stage), tuple(unknown))


def profile_flops(sess: Any, run_metadata: Any, cmds: Sequence[str] = ("scope",)) -> int:
    """Count the floating-point operations of a traced run, and print them.

    Args:
      sess: the session that ran it.
      run_metadata: of that run, with `RunOptions.FULL_TRACE`.
      cmds: how to print them: "scope", "op" and "graph" (see `Flops.describe`).

    Returns:
      Their number, in all copies of the model in this worker.
    """
    return _printed(sess, run_metadata, cmds).total


def _printed(sess: Any, run_metadata: Any, cmds: Any) -> Flops:
    found = step_flops(sess.graph, run_metadata.step_stats)
    for view in _views(cmds):
        print("\n".join("epl flops: " + line for line in found.describe(view).split("\n")),
              flush=True)
    return found


class FlopsProfilerHook(tf.train.SessionRunHook):
    """Counts the floating-point operations of the first run, and prints them.

    Attributes:
      flops: their number; None before that run.

    Examples:
      A product of 8 x 64 by 64 x 64 elements, forward, and one of that size for the gradient of
      the kernel:

      >>> from epl.profiler.flops import FlopsProfilerHook
      >>> epl.init()
      >>> epl.set_default_strategy(epl.replicate(device_count=1))
      >>> x = tf.placeholder(tf.float32, [None, 64])
      >>> loss = tf.reduce_mean(tf.matmul(x, tf.get_variable("kernel", [64, 64])))
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
      >>> hook = FlopsProfilerHook()
      >>> with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
      ...     _ = session.run(train, {x: np.ones([8, 64])})
      epl flops: ...
      >>> hook.flops > 2 * (2 * 8 * 64 * 64)
      True
    """

    def __init__(self, cmds: Any = "scope", output_dir: Optional[str] = None):
        """Choose how to show them.

        Args:
          cmds: "scope", "op" or "graph" (see `Flops.describe`), or a list of these.
          output_dir: in its directory `flops` the chief writes events for TensorBoard, the numbers
            of the step and of each stage as scalars; None: it writes none.

        Raises:
          ValueError: other `cmds`.
        """
        self._views = _views(cmds)
        self._output_dir = output_dir
        self.flops: Optional[int] = None

    def before_run(self, run_context: Any) -> Any:
        """Asks for a trace."""
        del run_context
        return tf.train.SessionRunArgs(None, options=full_trace()) if self.flops is None else None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Counts."""
        if self.flops is None:
            found = _printed(run_context.session, run_values.run_metadata, self._views)
            self.flops = found.total
            if self._output_dir is not None:
                writer = tf.summary.FileWriter(os.path.join(self._output_dir, "flops"))
                writer.add_summary(tf.Summary(value=[
                    tf.Summary.Value(tag=tag, simple_value=number)
                    for tag, number in found.scalars()]), 0)
                writer.close()


def _views(cmds: Any) -> List[str]:
    views = [cmds] if isinstance(cmds, str) else cmds
    if not isinstance(views, (list, tuple)) or not views or not set(views) <= set(_VIEWS):
        raise ValueError("cmds = {!r}: use 'scope', 'op', 'graph' or a list of these".format(cmds))
    return list(views)
