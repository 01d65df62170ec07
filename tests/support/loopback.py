# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers as threads of this process, connected in memory: jobs without a launcher."""

import threading

import tensorflow.compat.v1 as tf

import epl
from epl.communicators.loopback import LoopbackCommunicator, World
from epl.env import Env, Seat

# Far above what a job here takes on a busy machine; only a defect comes to it.
SECONDS = 300


def run(body, workers=2, devices=1):
    """`body(rank)` in a thread for each worker, with an environment and a default graph of its own.

    Returns:
      What the workers returned, in the order of ranks.

    Raises:
      What the first worker to fail raised.
    """
    failed = []
    found = outcomes(body, workers, devices, failed.append)
    if failed:
        raise failed[0]
    return found


def outcomes(body, workers=2, devices=1, on_failure=lambda error: None):
    """As `run`; of a worker that failed, what it raised."""
    world, found = World(workers), [None] * workers

    def work(rank):
        try:
            with seat(world, rank, devices).in_force(), tf.Graph().as_default():
                found[rank] = body(rank)
        except BaseException as error:
            found[rank] = error
            on_failure(error)
        finally:
            world.leave(rank)

    threads = [threading.Thread(target=work, args=(rank,), daemon=True)
               for rank in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a worker hangs"
    finally:
        for rank in range(workers):
            world.leave(rank)
    return found


def seat(world, rank, devices=1):
    """The environment of a worker that has not called `epl.init` yet."""
    cluster = epl.Cluster.described_by({
        "EPL_NUM_WORKERS": str(world.size), "EPL_WORKER_INDEX": str(rank),
        "EPL_GPU_PER_WORKER": str(devices), "EPL_DEVICE_TYPE": "cpu"})
    return Env(Seat(cluster, LoopbackCommunicator(world, rank)))
