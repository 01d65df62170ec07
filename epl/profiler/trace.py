# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""From a graph and a traced run to a timeline; and one traced step of a plain session."""

from typing import Any, Dict, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.env import Env
from epl.ir.environment import plan_for, remember
from epl.ir.graph_state import state_of
from epl.profiler.action_map import ActionMap, map_actions
from epl.profiler.events import read_events
from epl.profiler.files import Files, check_output, write_timeline
from epl.profiler.spans import computes_gradients
from epl.profiler.timeline import Timeline, make_timeline
from epl.rewrite.groups import groups_of


class TracedStep(NamedTuple):
    """A step that was traced.

    Attributes:
      values: what `session.run` returned.
      timeline: the timeline, or None on other workers than the chief.
      files: where it was written, or None.
    """

    values: Any
    timeline: Optional[Timeline]
    files: Optional[Files]


class Tracer:
    """Makes timelines of the runs of one graph."""

    def __init__(self, graph: Any, output_dir: str, picture: bool):
        self._graph = graph
        self._output_dir = output_dir
        self._picture = picture
        self._maps: Dict[str, ActionMap] = {}
        self._version = -1

    def timeline(self, step: int, metadata: Any) -> Optional[Timeline]:
        """The timeline of a run, or None if it was no training step.

        Of several losses that the run trains it is the one whose gradients were built first.
        """
        events = read_events(metadata.step_stats)
        for action_map in self._action_maps():
            if computes_gradients(events, action_map):
                plan = plan_for(self._graph)
                assert plan is not None  # there is a rewritten group
                return make_timeline(step, plan, action_map, events)
        return None

    def write(self, timeline: Timeline) -> Files:
        """Write the files and print the summary."""
        files = write_timeline(timeline, self._output_dir, self._picture)
        lines = timeline.describe().split("\n")
        lines.append("written: {}".format(", ".join(path for path in files if path)))
        print("\n".join("epl timeline: " + line for line in lines), flush=True)
        return files

    def _action_maps(self) -> List[ActionMap]:
        """Those of the gradients that are rewritten, which they are when a session has run them."""
        state, plan = state_of(self._graph), plan_for(self._graph)
        if self._version != self._graph.version:
            self._version, self._maps = self._graph.version, {}
        for group in groups_of(state):
            if group.rewritten and group.name not in self._maps and plan is not None:
                self._maps[group.name] = map_actions(self._graph, state, group, plan)
        return list(self._maps.values())


def require_step(graph: Any, caller: str) -> None:
    """Raises RuntimeError unless EPL has a training step in `graph`."""
    remember(graph, Env.get()).require_init(caller)
    if not state_of(graph).trains:
        raise RuntimeError(
            "{}: this graph has no training step of EPL; set a strategy before the model is built "
            "(epl.set_default_strategy, epl.replicate), and build the training operation before "
            "the session. On one device with one micro-batch EPL leaves a script alone: raise "
            "pipeline.num_micro_batch, or start it with epl-launch on more devices".format(caller))


def full_trace() -> Any:
    """Options of a run that notes when every operation ran."""
    return tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)


def trace_step(session: Any, fetches: Any, feed_dict: Any = None, output_dir: str = ".",
               picture: bool = True) -> TracedStep:
    """Run one training step of a plain session and write its timeline.

    Run some steps before it: the first ones are slower. All workers call it for the same step; the
    chief traces, writes `timeline_<global step>.json` and `.png`, and prints the bubble's share;
    the others just run the step.

    Args:
      session: a `tf.Session`. With `MonitoredTrainingSession` or an Estimator use `TimelineHook`.
      fetches: as for `session.run`; the training operation among them.
      feed_dict: as for `session.run`.
      output_dir: where to write; made if it is missing.
      picture: write the picture, which needs matplotlib.

    Returns:
      A `TracedStep`: what was fetched, the timeline (times in nanoseconds) and the paths.

    Raises:
      TypeError: `session` is no plain session.
      RuntimeError: before `epl.init()`; or the graph has no training step, or `fetches` run none.
      ConfigError: nothing can be written to `output_dir`.
      ImportError: `picture` without matplotlib.

    Examples:
      >>> import tempfile
      >>> from epl.profiler import trace_step
      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
      >>> epl.set_default_strategy(epl.replicate(device_count=2))
      >>> x = tf.placeholder(tf.float32, [None, 64])
      >>> loss = tf.reduce_mean(tf.layers.dense(x, 64))
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
      >>> with tf.Session() as session:
      ...     session.run(tf.global_variables_initializer())
      ...     traced = trace_step(session, [loss, train], {x: np.ones([8, 64])},
      ...                         output_dir=tempfile.mkdtemp(), picture=False)
      epl timeline: step 0 took ... ms, the pipeline in it ... ms; schedule preferbackward, 2 ...
      ...
      >>> loss_of_step, _ = traced.values
      >>> traced.timeline.duration > 0
      True
    """
    if not isinstance(session, compat.session_module.BaseSession):
        raise TypeError("trace_step takes a tf.Session, not {!r}; give MonitoredTrainingSession or "
                        "Estimator.train hooks=[epl.profiler.TimelineHook(...)]".format(
                            type(session).__name__))
    require_step(session.graph, "epl.profiler.trace_step")
    if not Env.get().context.cluster.is_chief:
        return TracedStep(session.run(fetches, feed_dict), None, None)
    check_output(output_dir, picture)
    tracer = Tracer(session.graph, output_dir, picture)
    global_step = tf.train.get_global_step(session.graph)
    step = 0 if global_step is None else int(session.run(global_step))
    metadata = tf.RunMetadata()
    values = session.run(fetches, feed_dict, options=full_trace(), run_metadata=metadata)
    timeline = tracer.timeline(step, metadata)
    if timeline is None:
        raise RuntimeError("epl.profiler.trace_step: {!r} runs no training step, so there is no "
                           "pipeline to see; fetch the training operation".format(fetches))
    return TracedStep(values, timeline, tracer.write(timeline))
