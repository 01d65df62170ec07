# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that are threads of one process: what they exchange, and what one's end means to others.
"""

import sys
import threading
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.communicators import registry
from epl.communicators.base import Communicator, Disconnected
from epl.communicators.loopback import LoopbackCommunicator, World
from epl.env import Env
from tests.graph import devices
from tests.graph.devices import fit, weight_after
from tests.support import exchanges, loopback


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_exchange(workers):
    world = World(workers)

    def work(rank):
        communicator = LoopbackCommunicator(world, rank)
        exchanges.check_in_graph(communicator)
        exchanges.check_outside(communicator)

    loopback.run(work, workers)


def session_of(communicator):
    config = tf.ConfigProto()
    communicator.prepare_session(config)
    return tf.Session(config=config)


def test_one_sends_what_another_receives():
    def work(rank):
        communicator = Env.get().seat.communicator
        with session_of(communicator) as session:
            if rank == 2:
                record = communicator.send(tf.constant([[1.0, 2.0]], tf.bfloat16), "there", to=0)
                session.run(record.op)
                return record.group.ranks, record.kind
            if rank == 0:
                found, record = communicator.receive(tf.bfloat16, [1, 2], "there", source=2)
                assert found.shape == [1, 2]
                return session.run(tf.cast(found, tf.float32)), record.kind
            return None

    (found, kind), _, sent = loopback.run(work, workers=3)
    np.testing.assert_array_equal(found, [[1.0, 2.0]])
    assert (kind, sent) == ("receive", ((0, 2), "send"))


def test_sums_are_in_the_order_of_ranks():
    """1 + 1e8 - 1e8 in 32-bit floats depends on the order, whoever comes first."""
    def work(rank):
        communicator = Env.get().seat.communicator
        total, _ = communicator.all_reduce(
            tf.constant([1.0, 1e8, -1e8][rank]), "sum", communicator.group)
        with session_of(communicator) as session:
            return [session.run(total) for _ in range(5)]

    assert loopback.run(work, workers=3) == [[0.0] * 5] * 3


def test_many_exchanges_of_a_step_may_come_in_any_order():
    """Each waits in a thread of its session's own."""
    def work(rank):
        communicator = Env.get().seat.communicator
        order = range(40) if rank else reversed(range(40))
        sums = {n: communicator.all_reduce(tf.constant(float(n)), "s{}".format(n),
                                           communicator.group)[0] for n in order}
        with session_of(communicator) as session:
            return session.run(sums)

    assert loopback.run(work) == [{n: 2.0 * n for n in range(40)}] * 2


def test_who_leaves_takes_nobody_along():
    entered = threading.Event()

    def work(rank):
        communicator = Env.get().seat.communicator
        if rank == 1:
            entered.wait(loopback.SECONDS)
            raise ValueError("no data")
        total, _ = communicator.all_reduce(tf.constant(1.0), "sum", communicator.group)
        with session_of(communicator) as session:
            entered.set()
            with pytest.raises(tf.errors.OpError, match="worker 1 has ended"):
                session.run(total)
        with pytest.raises(Disconnected, match="worker 1 has ended"):
            communicator.all_reduce_max([1])
        with pytest.raises(Disconnected):
            communicator.broadcast_object(None)

    left, failed = loopback.outcomes(work)
    assert left is None and str(failed) == "no data"


def test_an_exchange_has_a_limit_in_time():
    """Who does not come is waited for no longer; nothing else is."""
    assert LoopbackCommunicator(World(2), 0).all_reduce_max([1], seconds=0.01) is None


def test_other_shapes_are_an_error_on_all():
    def work(rank):
        communicator = Env.get().seat.communicator
        total, _ = communicator.all_reduce(tf.zeros([2 + rank]), "sum", communicator.group)
        with session_of(communicator) as session:
            session.run(total)

    for error in loopback.outcomes(work):
        assert "float32[2], float32[3]" in str(error)


def train(rank, workers, steps=2):
    """`fit` with this worker's share of the rows."""
    epl.init()
    epl.set_default_strategy(epl.replicate(1))
    made = fit(lambda number: devices.stages(None)(number))
    share = len(devices.ROWS) // workers
    rows = devices.ROWS[rank * share:(rank + 1) * share]
    with devices.session() as session:
        for _ in range(steps):
            loss, _ = session.run([made.loss, made.train], {made.x: rows})
        return loss, session.run(made.weight)


def test_workers_train_together():
    found = loopback.run(lambda rank: train(rank, 4), workers=4)
    assert found == [found[0]] * 4 and found[0][1] == weight_after(2)


def test_a_worker_with_fewer_steps_ends_the_others_with_a_word():
    _, lost = loopback.outcomes(lambda rank: train(rank, 2, steps=1 + rank))
    assert isinstance(lost, epl.WorkerLostError)
    assert "worker 0 has ended" in str(lost)


def test_workers_that_do_different_things_are_told_so():
    def work(rank):
        epl.init(epl.Config({"communication.max_splits": 1 + rank}))
        epl.set_default_strategy(epl.replicate(1))
        made = fit(lambda number: devices.stages(None)(number))
        with devices.session() as session:
            session.run(made.train, {made.x: devices.ROWS})

    for error in loopback.outcomes(work):
        assert isinstance(error, epl.ConfigError)
        assert "communication.max_splits = 1" in str(error)


def test_what_a_communicator_lacks_is_refused_by_name():
    class Little(Communicator):
        name = "little"

    with pytest.raises(NotImplementedError, match="'little' has no all_reduce: .*communicator"):
        Little().all_reduce(tf.constant(1.0), "sum", Little().group)
    with pytest.raises(NotImplementedError, match="'little' has no broadcast_bytes"):
        Little().broadcast_object(1)


def test_communicators_are_found_by_name(monkeypatch):
    monkeypatch.setattr(registry, "_makers", dict(registry._makers))
    monkeypatch.setattr(registry, "_made", {})
    with pytest.raises(epl.ConfigError, match="'horovd' is unknown; did you mean 'horovod'"):
        registry.communicator("horovd")
    registry.register("little", Communicator)
    assert registry.communicator("little") is registry.communicator("little")
    assert {"horovod", "little"} <= set(registry.names())


def test_auto_takes_shared_memory_on_one_machine_else_horovod_where_it_is(monkeypatch, capfd):
    monkeypatch.setattr(registry, "_made", {})
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)  # its import fails
    assert registry.resolve("native", 2) == "native"
    assert registry.resolve("auto", 1) == "horovod" and capfd.readouterr().err == ""
    assert registry.resolve("auto", 2, on_one_machine=True) == "shared_memory"
    assert capfd.readouterr().err == ""
    with monkeypatch.context() as others:  # horovodrun
        others.setenv("HOROVOD_GLOO_RENDEZVOUS_ADDR", "127.0.0.1")
        others.setenv("HOROVOD_GLOO_RENDEZVOUS_PORT", "1234")
        assert registry.resolve("auto", 2, on_one_machine=True) == "native"
    capfd.readouterr()
    assert registry.resolve("auto", 2) == "native"
    assert "collectives connect the workers, whose servers only a firewall guards, as Horovod " \
        "cannot be imported (" in capfd.readouterr().err
    assert registry.resolve("auto", 2, on_one_machine=True, on_gpus=True) == "shared_memory"
    assert capfd.readouterr().err.startswith("epl: shared memory connects the workers, as Horovod")
    begun = []
    monkeypatch.setitem(sys.modules, "horovod.tensorflow",
                        types.SimpleNamespace(is_initialized=lambda: bool(begun)))
    assert registry.resolve("auto", 2) == "horovod" and capfd.readouterr().err == ""
    assert registry.resolve("auto", 2, on_one_machine=True, on_gpus=True) == "horovod"
    assert registry.resolve("auto", 2, on_one_machine=True) == "shared_memory"
    begun.append("by the script")
    assert registry.resolve("auto", 2, on_one_machine=True) == "horovod"
