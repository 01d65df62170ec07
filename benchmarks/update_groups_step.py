# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `update_groups.py`.

Usage: update_groups_step.py SETTINGS
SETTINGS is JSON: `layers`, `groups`, `cores` and `memory`. With `memory` one JSON object is
printed; else `READY`, and for every line of input, a number of steps, the seconds that they took.
"""

import json
import os
import sys

import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import epl  # noqa: E402
from benchmarks.pipeline_step import timed  # noqa: E402
from epl.profiler.memory import read_memory  # noqa: E402

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

ROWS, UNITS = 64, 512  # 1 MiB for each kernel
NAME = "decaying"


class InPlaceAdam(tf.train.Optimizer):
    """Adam with weight decay, without its correction of the first steps, for dense gradients.

    Everything that it computes is given back in the step: variables are changed in place. A new
    value of a variable would stay, and what it replaces is of the step before, whose allocations
    are not in the records of this one.
    """

    def __init__(self):
        super().__init__(False, NAME)

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "m", self.get_name())
            self._zeros_slot(variable, "v", self.get_name())

    def _resource_apply_dense(self, grad, handle):
        m, v = self.get_slot(handle, "m"), self.get_slot(handle, "v")
        with tf.control_dependencies([m.assign_sub(0.1 * (m - grad)),
                                      v.assign_sub(0.001 * (v - tf.square(grad)))]):
            step = m.read_value() / (tf.sqrt(v.read_value()) + 1e-6) + 0.01 * handle
            return handle.assign_sub(1e-4 * step)


def build(settings):
    """The training step."""
    epl.init(epl.Config({"optimizer.num_apply_group": settings["groups"]}))
    epl.set_default_strategy(epl.replicate(device_count=1))
    hidden = tf.placeholder_with_default(tf.ones([ROWS, UNITS]), [None, UNITS])
    for number in range(settings["layers"]):
        kernel = tf.get_variable(
            "kernel_{}".format(number), [UNITS, UNITS], use_resource=True,
            initializer=tf.glorot_uniform_initializer(seed=number))
        hidden = tf.tanh(tf.matmul(hidden, kernel))
    optimizer = InPlaceAdam()
    gradients, variables = zip(*optimizer.compute_gradients(tf.reduce_mean(tf.square(hidden))))
    gradients, _ = tf.clip_by_global_norm(gradients, 1.0)  # no update is ready before all are
    return optimizer.apply_gradients(list(zip(gradients, variables)))


def main(settings):
    os.sched_setaffinity(0, settings["cores"])
    step = build(settings)
    names = {op.name for op in step.graph.get_operations() if op.name.startswith(NAME + "/")}
    config = tf.ConfigProto(intra_op_parallelism_threads=1,
                            inter_op_parallelism_threads=settings["layers"])
    # TensorFlow's own changes give operations other names.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        timed(session, step, 2)
        if settings["memory"]:
            told = tf.RunMetadata()
            session.run(step, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                        run_metadata=told)
            print(json.dumps({"peak": max(memory.peak_of(names)
                                          for memory in read_memory(told.step_stats))}))
            return
        print("READY", flush=True)
        for line in sys.stdin:
            print("SECONDS {:.6f}".format(timed(session, step, int(line))), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
