# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The line that says how training goes."""

import time
from typing import Any

import tensorflow.compat.v1 as tf


class ProgressHook(tf.train.SessionRunHook):
    """Prints step, loss, learning rate, examples per second and the time left.

    The first step has a line at once. The pace is that since the line before, which leaves out the
    first step, as that prepares the graph.
    """

    def __init__(self, loss: Any, learning_rate: Any, total_steps: int, global_batch: int,
                 seconds: float = 5.0):
        """Make a hook.

        Args:
          loss: scalar tensor.
          learning_rate: scalar tensor.
          total_steps: the step at which training ends; it always has a line too.
          global_batch: rows of a step, over all workers.
          seconds: least time between two lines.
        """
        self._watched = [loss, learning_rate]
        self._total_steps = total_steps
        self._global_batch = global_batch
        self._seconds = seconds
        self._step = self._line_step = 0
        self._line_time = 0.0

    def after_create_session(self, session: Any, coord: Any) -> None:
        del coord
        self._step = int(session.run(tf.train.get_global_step(session.graph)))
        self._line_step = self._step + 1

    def before_run(self, run_context: Any) -> Any:
        del run_context
        return tf.train.SessionRunArgs(self._watched)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        del run_context
        self._step += 1
        now = time.time()
        if self._step == self._line_step:
            self._line_time = now
            print(self._line(*run_values.results), flush=True)
        elif now - self._line_time >= self._seconds or self._step == self._total_steps:
            pace = (self._step - self._line_step) / max(now - self._line_time, 1e-6)
            self._line_step, self._line_time = self._step, now
            left = duration((self._total_steps - self._step) / pace)
            print("{}  {:.1f} examples/s  {} left".format(
                self._line(*run_values.results), pace * self._global_batch, left), flush=True)

    def _line(self, loss: float, learning_rate: float) -> str:
        return "step {}/{}  loss {:.4f}  learning rate {:.2e}".format(
            self._step, self._total_steps, loss, learning_rate)


def duration(seconds: float) -> str:
    """Seconds as `h:mm:ss`."""
    whole = int(round(seconds))
    return "{}:{:02d}:{:02d}".format(whole // 3600, whole // 60 % 60, whole % 60)
