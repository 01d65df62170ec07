# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One worker of a job of `launcher.py`: notes when it begins, and when it ends or dies.

Usage: launcher_worker.py FOLDER WORKERS KIND
When all WORKERS have begun, and some time has passed, KIND says what happens:

    ends      every worker ends
    dies      the last worker kills itself, the others sleep
    epl       all train with EPL, then the last kills itself
    horovod   the same with plain Horovod

Times are those of the clock that all processes of a machine share.
"""

import time

BEGIN = time.monotonic()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

SETTLED_S = 0.5
TRAINED_S = 1.0
# of epl-launch, horovodrun and torchrun
RANK = next(int(os.environ[name]) for name in ("EPL_WORKER_INDEX", "HOROVOD_RANK", "RANK")
            if name in os.environ)


def note(folder, what, moment):
    """Write a file that is either absent or whole: `<what>-<rank>` with the process and a time."""
    path = os.path.join(folder, "{}-{}".format(what, RANK))
    with open(path + ".new", "w") as file:
        file.write("{} {!r}".format(os.getpid(), moment))
    os.rename(path + ".new", path)


def wait_for_all(folder, workers):
    names = {"begin-{}".format(rank) for rank in range(workers)}
    while not names <= set(os.listdir(folder)):
        time.sleep(0.02)
    time.sleep(SETTLED_S)


def die(folder):
    note(folder, "end", time.monotonic())
    os.kill(os.getpid(), signal.SIGKILL)


def train(kind, folder, last):
    """Train for ever under a monitored session; the last worker dies after some time."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    optimizer, hooks = tf.train.GradientDescentOptimizer(0.1), []
    if kind == "epl":
        import epl

        epl.init(epl.Config({"communication.communicator": "horovod"}))  # as its peer
        epl.set_default_strategy(epl.replicate(device_count=1))
    else:
        import horovod.tensorflow as hvd

        hvd.init()
        optimizer = hvd.DistributedOptimizer(optimizer)
        hooks = [hvd.BroadcastGlobalVariablesHook(0)]
    weight = tf.get_variable("weight", [1000], initializer=tf.zeros_initializer())
    step = optimizer.minimize(tf.reduce_mean(tf.square(weight - 1.0)),
                              tf.train.get_or_create_global_step())
    with tf.train.MonitoredTrainingSession(hooks=hooks) as session:
        session.run(step)
        begin = time.monotonic()
        while not last or time.monotonic() - begin < TRAINED_S:
            session.run(step)
        die(folder)


def main(folder, workers, kind):
    note(folder, "begin", BEGIN)
    last = RANK == workers - 1
    if kind in ("epl", "horovod"):
        train(kind, folder, last)
        return
    wait_for_all(folder, workers)
    if kind == "ends":
        note(folder, "end", time.monotonic())
        os._exit(0)  # what Python does at its end is not the launcher's
    if last:
        die(folder)
    time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
