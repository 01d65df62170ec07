# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Measures how long the operations of a model take, for plans of other runs (`auto.costs`).

    traced steps --each operation: sum of its executions--> their medians --> costs.json

Operations that are not the script's, nor of its gradients, are left out: other clones, exchanges.
"""

import os
import statistics
from typing import Any, Dict, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.env import Env
from epl.errors import ConfigError
from epl.ir.environment import context_of, remember
from epl.ir.graph_state import state_of
from epl.plan.measured import Measured
from epl.profiler.events import RAN, Event, read_events
from epl.profiler.trace import full_trace
from epl.rewrite import op_traits

_NAME = "epl.profiler.CostsHook"
_FUSED = 4  # operations that become one, at most: product, bias, addition, activation


class _Step(NamedTuple):
    """A step that was traced: microseconds of it, and of its operations."""

    whole: float
    operations: Dict[str, float]


class CostsHook(tf.train.SessionRunHook):
    """Writes a file that says how long the operations of a model took.

    `epl.Config({"auto.costs": "costs.json"})` plans with it: automatic stages, and the choice of
    `pipeline.strategy = "auto"`. Measure on a device as the pipeline will have them, with a batch
    of the size of a micro-batch; one device is enough:

        epl-launch --num_workers 1 --gpu_per_worker 1 train.py

    A job may also be measured as it runs: the operations of its first micro-batch count. Only the
    chief traces and writes; the file is written as soon as the last step was traced.

    Attributes:
      measured: the `epl.plan.measured.Measured` that was written, or None.

    Examples:
      >>> import os, tempfile
      >>> from epl.profiler import CostsHook
      >>> epl.init()
      >>> epl.set_default_strategy(epl.replicate(device_count=1))
      >>> x = tf.placeholder(tf.float32, [None, 64])
      >>> loss = tf.reduce_mean(tf.layers.dense(x, 64, name="layer"))
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
      >>> hook = CostsHook(os.path.join(tempfile.mkdtemp(), "costs.json"), steps=3)
      >>> with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
      ...     for _ in range(8):
      ...         _ = session.run(train, {x: np.ones([8, 64])})
      epl costs: ... operations in 3 step(s) of ... ms written to ...costs.json
      >>> hook.measured.operations_us["layer/MatMul"] > 0
      True
    """

    def __init__(self, path: str, skip: int = 5, steps: int = 5):
        """Choose what to trace.

        Args:
          path: of the file.
          skip: runs before the first that is traced; the first ones are slower.
          steps: training steps to trace.

        Raises:
          ValueError: `skip` is below 0, or `steps` below 1.
          RuntimeError: before `epl.init()`.
          ConfigError: the directory of `path` is not there, or `path` is one itself.
        """
        Env.get().require_init(_NAME)
        if skip < 0 or steps < 1:
            raise ValueError("skip = {!r}, steps = {!r}: use 0 or more, and 1 or more".format(
                skip, steps))
        directory = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(directory):
            raise ConfigError("{}: there is no directory '{}' to write to; make it first".format(
                _NAME, directory))
        if os.path.isdir(path):
            raise ConfigError("{}: '{}' is a directory; name a file in it".format(_NAME, path))
        self.measured: Optional[Measured] = None
        self._path, self._skip, self._steps = path, skip, steps
        self._active = Env.get().context.cluster.is_chief
        self._graph: Any = None
        self._runs = 0
        self._traced: List[_Step] = []

    def begin(self) -> None:
        """Called before the session is made."""
        self._graph = tf.get_default_graph()
        remember(self._graph, Env.get())

    def before_run(self, run_context: Any) -> Any:
        """Asks for a trace, if there is one to make."""
        del run_context
        self._runs += 1
        return tf.train.SessionRunArgs(None, options=full_trace()) if self._is_next else None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Takes down what was traced, and writes the file behind the last step."""
        del run_context
        if not self._is_next:
            return
        step = _read(self._graph, read_events(run_values.run_metadata.step_stats))
        if step is None:  # nothing was trained
            return
        self._traced.append(step)
        if len(self._traced) == self._steps:
            self._write()

    def end(self, session: Any) -> None:
        """Says so if the training was too short."""
        del session
        if self._active and self.measured is None:
            print("epl costs: nothing written to {}: {} of {} step(s) were traced in {} run(s), of "
                  "which the first {} are passed over".format(
                      self._path, len(self._traced), self._steps, self._runs, self._skip),
                  flush=True)

    @property
    def _is_next(self) -> bool:
        """This run is traced."""
        return self._active and self.measured is None and self._runs > self._skip

    def _write(self) -> None:
        names = sorted({name for step in self._traced for name in step.operations})
        self.measured = Measured(
            context_of(self._graph).cluster.device_type, tf.VERSION,
            round(statistics.median(step.whole for step in self._traced), 3), None,
            {name: round(statistics.median(step.operations.get(name, 0.0)
                                           for step in self._traced), 3) for name in names})
        self.measured.save(self._path)
        print("epl costs: {} operations in {} step(s) of {:.2f} ms written to {}".format(
            len(names), len(self._traced), self.measured.step_us / 1000, self._path), flush=True)


def _read(graph: Any, events: List[Event]) -> Optional[_Step]:
    """What a traced run says of the script's operations; None if it trained no variable."""
    provenance = state_of(graph).provenance
    variables = {compat.variable_key(variable)
                 for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)}
    found: Dict[str, float] = {}
    trained = False
    for event in events:
        op = _operation(graph, event) if event.kind == RAN else None
        if op is not None and op.inputs and not provenance.is_made(op):
            found[op.name] = found.get(op.name, 0.0) + (event.end - event.start) / 1000.0
            trained = trained or bool(variables.intersection(op_traits.written_variables(op)))
    if not trained:
        return None
    return _Step((max(event.end for event in events) - min(event.start for event in events))
                 / 1000.0, found)


def _operation(graph: Any, event: Event) -> Any:
    """The operation that an event is the execution of, or of a part of it; None: of none."""
    name = event.name
    while name:
        try:
            return _first_of_fused(graph.get_operation_by_name(name), event.type)
        except KeyError:
            name = name.rpartition("/")[0]
    return None


def _first_of_fused(op: Any, executed: str) -> Any:
    """`op`, or the product that TensorFlow has computed together with it.

    _FusedMatMul, executed under the name of the Relu behind MatMul and BiasAdd, is the MatMul.
    """
    first = op
    for _ in range(_FUSED if "Fused" in executed else 0):
        if first.type in executed:
            return first
        if not first.inputs:
            break
        first = first.inputs[0].op
    return op
