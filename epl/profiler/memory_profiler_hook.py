# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A session hook that measures the memory of training steps."""

import os
from operator import index
from typing import Any, Dict, List, Optional, Set

import tensorflow.compat.v1 as tf

from epl.env import Env
from epl.profiler.action_map import map_all
from epl.profiler.files import check_output
from epl.profiler.memory import DeviceMemory, megabytes, read_memory
from epl.profiler.memory_files import write_memory
from epl.profiler.trace import full_trace


def profile_memory(run_metadata: Any, prefix_name: Optional[str] = "",
                   visualize: bool = True) -> List[Dict[str, Any]]:
    """The memory that a traced run used, device by device.

    Args:
      run_metadata: of a run with `RunOptions.FULL_TRACE`.
      prefix_name: of the files.
      visualize: write `<prefix_name>_<device>.csv`, a row for each change, and a picture of it,
        which needs matplotlib.

    Returns:
      For each device that used any a dictionary: "device", its name; "persist", the bytes of
      variables and constants; "peak_memory", the most bytes in use at a time.
    """
    found = read_memory(run_metadata.step_stats)
    if visualize:
        for memory in found:
            write_memory(memory, prefix_name or "")
    return [{"device": each.device, "persist": each.persistent, "peak_memory": each.peak}
            for each in found]


def stages_of(memory: DeviceMemory, graph: Any) -> Dict[int, int]:
    """Stage -> most bytes that its forward and backward operations held at a time on a device."""
    found: Dict[int, int] = {}
    for each in map_all(graph):
        names: Dict[int, Set[str]] = {}
        for name in {record.name for record in memory.records}:
            action = each.find(name)
            if action is not None:
                names.setdefault(action.stage, set()).add(name)
        for stage, own in names.items():
            found[stage] = max(memory.peak_of(own), found.get(stage, 0))
    return found


class MemoryProfilerHook(tf.train.SessionRunHook):
    """Measures the memory of the training steps `save_steps`, 2 x `save_steps` to `max_steps`.

    Steps are counted by the global step. For each it prints what every device, and every stage on
    it, had in use at most. Only the chief traces and writes. The first run of a session, which
    allocates more than others, is left out.

    Attributes:
      found: global step behind the step -> the devices, in bytes; filled on the chief.

    Examples:
      >>> from epl.profiler.memory_profiler_hook import MemoryProfilerHook
      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
      >>> epl.set_default_strategy(epl.replicate(device_count=2))
      >>> x = tf.placeholder(tf.float32, [None, 64])
      >>> loss = tf.reduce_mean(tf.layers.dense(x, 64))
      >>> step = tf.train.get_or_create_global_step()
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, step)
      >>> hook = MemoryProfilerHook(save_steps=2, max_steps=4, visualize=False)
      >>> with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
      ...     for _ in range(4):
      ...         _ = session.run(train, {x: np.ones([8, 64])})
      epl memory: step 2, CPU:0: at most ... MiB in use, ...
      >>> sorted(hook.found)
      [2, 4]
    """

    def __init__(self, save_steps: int = 1, max_steps: int = 5, output_dir: str = "",
                 visualize: bool = True, dump_metadata: bool = False):
        """Choose what to measure.

        Args:
          save_steps: the distance of the steps that are measured.
          max_steps: the last global step.
          output_dir: where to write; made if it is missing; "": the current directory.
          visualize: write for each device `profile_step_<step>_<device>.csv`, a row for each
            change, and a picture of it, which needs matplotlib; and in the directory `memory`
            events for TensorBoard: the peaks as scalars, the trace in the graph.
          dump_metadata: write the trace, a serialized `tf.RunMetadata`:
            `run_metadata_<step>.bin`.

        Raises:
          TypeError: `save_steps` or `max_steps` are no whole numbers.
          ValueError: numbers with which nothing would be measured.
          ConfigError: nothing can be written to `output_dir`.
          ImportError: `visualize` without matplotlib.
        """
        if not 1 <= index(save_steps) <= index(max_steps):
            raise ValueError("save_steps = {}, max_steps = {}: with save_steps from 1 to max_steps "
                             "something is measured".format(save_steps, max_steps))
        self.found: Dict[int, List[DeviceMemory]] = {}
        self._every, self._last = save_steps, max_steps
        self._output_dir = output_dir or "."
        self._visualize, self._dump = visualize, dump_metadata
        env = Env.get()
        self._active = not env.initialized or env.context.cluster.is_chief
        self._global_step: Any = None
        self._step: Optional[int] = None  # the global step before the next run
        self._first = True
        self._writer: Any = None
        if self._active:
            check_output(self._output_dir, visualize)

    def begin(self) -> None:
        """Called before the session is made. Raises RuntimeError without a global step."""
        self._global_step = tf.train.get_global_step()
        if self._global_step is None:
            raise RuntimeError("MemoryProfilerHook: the graph has no global step to count by; pass "
                               "tf.train.get_or_create_global_step() to minimize")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Called when the variables have their first values."""
        del coord
        self._first = True
        if self._active:
            self._step = int(session.run(self._global_step))

    def before_run(self, run_context: Any) -> Any:
        """Asks for a trace."""
        del run_context
        return tf.train.SessionRunArgs(None, options=full_trace()) if self._is_next else None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Measures what was traced."""
        if self._step is None or self._step >= self._last:
            return
        traced, before = self._is_next, self._step
        self._first = False
        self._step = int(run_context.session.run(self._global_step))
        if traced and self._step > before:  # it was no evaluation
            self._write(self._step, run_values.run_metadata)

    def end(self, session: Any) -> None:
        """Ends what is written for TensorBoard."""
        del session
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def _is_next(self) -> bool:
        return self._step is not None and not self._first and self._step < self._last \
            and (self._step + 1) % self._every == 0

    def _write(self, step: int, run_metadata: Any) -> None:
        graph, found = tf.get_default_graph(), read_memory(run_metadata.step_stats)
        self.found[step] = found
        prefix = os.path.join(self._output_dir, "profile_step_{}".format(step))
        if self._dump:
            with open(os.path.join(self._output_dir, "run_metadata_{}.bin".format(step)),
                      "wb") as file:
                file.write(run_metadata.SerializeToString())
        if self._visualize:
            for memory in found:
                write_memory(memory, prefix)
            self._write_events(step, found, run_metadata, graph)
        for memory in found:
            print("epl memory: step {}, {}".format(step, describe(memory, graph)), flush=True)

    def _write_events(self, step: int, found: List[DeviceMemory], run_metadata: Any,
                      graph: Any) -> None:
        # Not beside the events of others: TensorBoard takes those of a directory for one training.
        writer = self._writer or tf.summary.FileWriter(
            os.path.join(self._output_dir, "memory"), graph)
        self._writer = writer
        writer.add_run_metadata(run_metadata, "memory_step_{}".format(step), step)
        values = [("{}/{}".format(memory.short, what), size) for memory in found for what, size in (
            ("peak_bytes", memory.peak), ("persistent_bytes", memory.persistent))]
        values += [("{}/stage_{}/peak_bytes".format(memory.short, stage), size)
                   for memory in found for stage, size in sorted(stages_of(memory, graph).items())]
        writer.add_summary(tf.Summary(value=[tf.Summary.Value(
            tag="memory/" + tag, simple_value=size) for tag, size in values]), step)
        writer.flush()


def describe(memory: DeviceMemory, graph: Any) -> str:
    """A line about a device and the stages on it."""
    parts = ["{}: at most {} in use, {} of it variables and constants".format(
        memory.short, megabytes(memory.peak), megabytes(memory.persistent))]
    parts += ["stage {}: {}".format(stage, megabytes(size))
              for stage, size in sorted(stages_of(memory, graph).items())]
    return "; ".join(parts)
