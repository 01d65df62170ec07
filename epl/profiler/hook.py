# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A session hook that makes timelines of chosen training steps."""

from operator import index
from typing import Any, Collection, Dict, FrozenSet, Optional

import tensorflow.compat.v1 as tf

from epl.env import Env
from epl.profiler.files import check_output
from epl.profiler.timeline import Timeline
from epl.profiler.trace import Tracer, full_trace, require_step

_NAME = "epl.profiler.TimelineHook"


class TimelineHook(tf.train.SessionRunHook):
    """Writes timelines of chosen training steps.

    For each it writes `timeline_<step>.json` (for chrome://tracing or https://ui.perfetto.dev) and
    `timeline_<step>.png`, and prints the measured share of the bubble beside the plan's. Only the
    chief traces and writes. The other steps run as without the hook; up to the last chosen one the
    chief reads the global step between runs.

    Attributes:
      timelines: step -> its `Timeline`; filled on the chief.

    Examples:
      >>> import tempfile
      >>> from epl.profiler import TimelineHook
      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
      >>> x = tf.placeholder(tf.float32, [None, 64])
      >>> with epl.replicate(1, name="lower"):
      ...     hidden = tf.layers.dense(x, 64)
      >>> with epl.replicate(1, name="upper"):
      ...     loss = tf.reduce_mean(tf.layers.dense(hidden, 1))
      >>> step = tf.train.get_or_create_global_step()
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, step)
      >>> hook = TimelineHook(tempfile.mkdtemp(), steps=[1], picture=False)
      >>> with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
      ...     for _ in range(3):
      ...         _ = session.run(train, {x: np.ones([8, 64])})
      epl timeline: step 1 took ... ms, the pipeline in it ... ms; schedule preferbackward, 2 ...
      epl timeline: bubble: measured ... %; plan ... % with the measured times below, 33.3 % ...
      ...
      >>> 0 <= hook.timelines[1].bubble.measured <= 1
      True
    """

    def __init__(self, output_dir: str, steps: Collection[int] = (10,), picture: bool = True):
        """Choose what to trace.

        Args:
          output_dir: where to write; made if it is missing.
          steps: values of the global step at which the step to be traced begins: 0 is the first
            step of a new training. `range(100, 103)` traces three. Leave out the first ones,
            which are slower.
          picture: write pictures, which needs matplotlib.

        Raises:
          TypeError: `steps` are no collection of whole numbers.
          ValueError: none, or some below 0.
          RuntimeError: before `epl.init()`.
          ConfigError: nothing can be written to `output_dir`.
          ImportError: `picture` without matplotlib.
        """
        Env.get().require_init(_NAME)
        self.timelines: Dict[int, Timeline] = {}
        self._steps = _checked(steps)
        self._output_dir = output_dir
        self._picture = picture
        self._active = Env.get().context.cluster.is_chief
        self._tracer: Optional[Tracer] = None
        self._global_step: Any = None
        self._first: Optional[int] = None  # value of the global step before the first run
        self._next = 0  # before the next run
        if self._active:
            check_output(output_dir, picture)

    def begin(self) -> None:
        """Called before the session is made.

        Raises:
          RuntimeError: the graph has no training step of EPL, or no global step.
        """
        graph = tf.get_default_graph()
        require_step(graph, _NAME)
        self._global_step = tf.train.get_global_step(graph)
        if self._global_step is None:
            raise RuntimeError("{}: the graph has no global step to count by; pass "
                               "tf.train.get_or_create_global_step() to minimize".format(_NAME))
        self._tracer = Tracer(graph, self._output_dir, self._picture)

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Called when the variables have their first values."""
        del coord
        if self._waits:
            self._next = int(session.run(self._global_step))
            self._first = self._next if self._first is None else self._first

    def before_run(self, run_context: Any) -> Any:
        """Asks for a trace of a chosen step."""
        del run_context
        if self._active and self._next in self._steps and self._next not in self.timelines:
            return tf.train.SessionRunArgs(None, options=full_trace())
        return None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Makes the timeline of what was traced."""
        if not self._waits:
            return
        if self._next in self._steps and self._next not in self.timelines:
            assert self._tracer is not None  # made in begin()
            timeline = self._tracer.timeline(self._next, run_values.run_metadata)
            if timeline is not None:  # it was no evaluation
                self.timelines[self._next] = timeline
                self._tracer.write(timeline)
        self._next = int(run_context.session.run(self._global_step))

    def end(self, session: Any) -> None:
        """Says which chosen steps were not reached."""
        del session
        missed = sorted(self._steps - set(self.timelines))
        if self._active and missed:
            print("epl timeline: no training step began at global step {}: this training began at "
                  "{} and was followed to {}".format(
                      ", ".join(map(str, missed)), self._first, self._next), flush=True)

    @property
    def _waits(self) -> bool:
        """There are steps to trace here."""
        return self._active and any(step >= self._next for step in self._steps)


def _checked(steps: Any) -> FrozenSet[int]:
    try:
        found = frozenset(index(step) for step in steps)
    except TypeError:
        raise TypeError("steps = {!r}: give a collection of whole numbers, for example steps=[10] "
                        "or steps=range(10, 12)".format(steps)) from None
    if not found or min(found) < 0:
        raise ValueError("steps = {!r}: give one global step or more, counted from 0, for example "
                         "steps=[10]".format(steps))
    return found
