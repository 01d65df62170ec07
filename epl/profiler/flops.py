# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of a step, from its graph and the shapes of a traced run.

TensorFlow's profiler knows most types of operations. It takes the wrong dimension of a batch
matrix product whose first operand is transposed, which every gradient of attention is, and misses
some types; these are counted here. A multiplication and an addition are two operations. The body of
a loop counts once.
"""

import collections
import os
import re
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.profiler.action_map import map_all
from epl.profiler.known_shapes import copy_with_shapes, executed_shapes
from epl.profiler.trace import full_trace
from epl.rewrite.walk import data_ancestors

_LISTED = 10
_VIEWS = ("scope", "op", "graph")

# Types that TensorFlow does not count -> operations for each element of the result.
_PER_ELEMENT = {
    "Abs": 1, "AddV2": 1, "Cumsum": 1, "Elu": 1, "EluGrad": 1, "Erf": 1, "Exp": 1, "Expm1": 1,
    "FloorDiv": 1, "FloorMod": 1, "FusedBatchNorm": 4, "FusedBatchNormV2": 4, "FusedBatchNormV3": 4,
    "LeakyRelu": 1, "Log1p": 1, "LogSoftmax": 6, "Relu": 1, "Relu6": 1, "ReluGrad": 1,
    "Relu6Grad": 1, "SelectV2": 1, "Sigmoid": 4, "SigmoidGrad": 3, "Softplus": 3, "Sqrt": 1,
    "SqrtGrad": 2, "Tanh": 1, "TanhGrad": 3}
# The same for each element of the first input.
_PER_INPUT_ELEMENT = {"Max": 1, "Min": 1, "Prod": 1, "FusedBatchNormGradV3": 8,
                      "SparseSoftmaxCrossEntropyWithLogits": 7, "SoftmaxCrossEntropyWithLogits": 7}


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


def count(ops: Iterable[Any]) -> Tuple[Dict[str, int], List[str]]:
    """Name -> floating-point operations, and the names of those whose shapes are not known."""
    found, unknown = {}, []
    for op in ops:
        try:
            number = flops_of(op)
        except (ValueError, TypeError, AttributeError):  # what an unknown size comes to
            unknown.append(op.name)
            continue
        if number:
            found[op.name] = number
    return found, unknown


def flops_of(op: Any) -> int:
    """The floating-point operations of one operation; raises ValueError for unknown shapes."""
    own = _OWN.get(op.type)
    if own is not None:
        return own(op)
    registered = compat.registered_flops(op)
    if registered is not None:
        return registered
    if op.type in _PER_ELEMENT:
        return _PER_ELEMENT[op.type] * _size(op.outputs[0])
    return _PER_INPUT_ELEMENT.get(op.type, 0) * (
        _size(op.inputs[0]) if op.type in _PER_INPUT_ELEMENT else 0)


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


def _size(tensor: Any) -> int:
    size = tensor.shape.num_elements()
    if size is None:
        raise ValueError("the shape of {} is not known".format(tensor.name))
    return int(size)


def _batch_product(op: Any) -> int:
    """A product of matrices: two for each element of the result and of the summed dimension."""
    inner = op.inputs[0].shape.as_list()[-2 if op.get_attr("adj_x") else -1]
    if inner is None:
        raise ValueError("the shape of {} is not known".format(op.inputs[0].name))
    return 2 * int(inner) * _size(op.outputs[0])


def _einsum(op: Any) -> int:
    """Every combination of the letters: a multiplication for each operand but one, an addition."""
    left, _, result = op.get_attr("equation").decode().replace(" ", "").partition("->")
    sizes: Dict[str, int] = {}
    for letters, tensor in zip(left.split(","), op.inputs):
        shape = tensor.shape.as_list()
        before, dots, after = letters.partition("...")
        names = list(before) + ["." + str(n) for n in range(
            len(shape) - len(before) - len(after) if dots else 0)] + list(after)
        for name, size in zip(names, shape):
            if size is None:
                raise ValueError("the shape of {} is not known".format(tensor.name))
            sizes[name] = max(size, sizes.get(name, 1))
    number = 1
    for size in sizes.values():
        number *= size
    summed = bool(set(sizes) - set(re.sub(r"\.", "", result)) - {
        name for name in sizes if name.startswith(".")})
    return number * (len(op.inputs) - 1 + summed)


_OWN: Dict[str, Callable[[Any], int]] = {
    "BatchMatMul": _batch_product, "BatchMatMulV2": _batch_product,
    "BatchMatMulV3": _batch_product, "Einsum": _einsum}
