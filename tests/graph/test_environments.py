# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Threads of one process with an environment each, and threads that a script starts."""

import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.env import Env
from epl.ir.environment import context_of, plan_for
from epl.runtime import stop
from tests.graph import devices
from tests.graph.devices import ROWS, fit, session, weight_after

SECONDS = 60  # far above what a thread takes


def in_threads(*bodies):
    """Run functions at the same time; what they return, in their order."""
    found, failed = [None] * len(bodies), []

    def run(number):
        try:
            found[number] = bodies[number]()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True)
               for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    if failed:
        raise failed[0]
    return found


@pytest.fixture(autouse=True)
def patched():
    """TensorFlow is patched for several devices; the process has an environment of its own."""
    with devices.started(devices.REPLICAS):
        yield


def worker(micro_batches, meet=lambda: None):
    """Trains 3 steps in an environment of its own. Returns (micro-batches, weight)."""
    env = Env()
    with env.in_force(), tf.Graph().as_default() as graph:
        env.reset(epl.Config({"pipeline.num_micro_batch": micro_batches}),
                  epl.Cluster(["localhost"]))
        meet()
        epl.set_default_strategy(epl.replicate(1))
        made = fit(lambda number: devices.stages(None)(number))
        meet()
        with session() as one:
            for _ in range(3):
                one.run(made.train, {made.x: ROWS})
            meet()
            return plan_for(graph).num_micro_batch, one.run(made.weight)


def test_threads_have_an_environment_each():
    mine, barrier = Env.get(), threading.Barrier(2, timeout=SECONDS)
    found = in_threads(lambda: worker(2, barrier.wait), lambda: worker(4, barrier.wait))
    assert found == [(2, weight_after(3)), (4, weight_after(3))]
    assert Env.get() is mine and mine.default_strategy is None


def test_a_thread_that_a_script_starts_finds_the_environment_of_the_graph():
    env = Env()
    with env.in_force(), tf.Graph().as_default() as graph:
        env.reset(epl.Config({"pipeline.num_micro_batch": 4}), epl.Cluster(["localhost"]))
        epl.set_default_strategy(epl.replicate(1))
        made = fit(lambda number: devices.stages(None)(number))
        with session() as one:
            def step():
                assert Env.get() is not env
                return one.run(made.train, {made.x: ROWS}), context_of(graph).config
            (_, config), = in_threads(step)
            np.testing.assert_array_equal(one.run(made.weight), weight_after(1))
    assert config.pipeline.num_micro_batch == 4


def test_what_a_worker_agreed_on_is_its_own():
    one, other = Env(), Env()
    with one.in_force():
        epl.request_stop()
    assert stop.wish(one.worker) is stop.Wish.SCRIPT
    assert stop.wish(other.worker) is stop.Wish.NONE
    stop.agree(one.worker, stop.wish(one.worker))
    one.reset(epl.Config(), epl.Cluster(["localhost"]))  # a second epl.init
    assert one.context.worker.agreed is stop.Wish.SCRIPT
    assert other.worker.agreed is Env.get().worker.agreed is stop.Wish.NONE
