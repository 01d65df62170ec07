# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers of one machine: what passes through their memory, and what one's end means to others."""

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.communicators.base import MAX, MEAN, SUM, Disconnected
from epl.communicators.horovod import rendezvous
from epl.communicators.place import Place
from epl.communicators.shared_memory import backend, joining, mesh, segments
from epl.communicators.shared_memory.backend import SharedMemoryCommunicator
from epl.runtime import coordination
from tests.support import exchanges

SECONDS = 60.0  # far above what anything here takes
SECRET = "0123456789abcdef"


def together(calls):
    """What the functions give, each in a thread of its own; an error is raised here."""
    found = [None] * len(calls)

    def work(number):
        try:
            found[number] = calls[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "a worker hangs"
    for each in found:
        if isinstance(each, Exception):
            raise each
    return found


@pytest.fixture
def connected(monkeypatch):
    """connected(3): the communicators of 3 workers; arrays of more than a page pass in pieces, and
    of three pages of all together each adds up its share.
    """
    monkeypatch.setattr(backend, "_LARGE", 3 * mmap.PAGESIZE)
    monkeypatch.setattr(segments, "PIECE", mmap.PAGESIZE)
    monkeypatch.setattr(backend, "PIECE", mmap.PAGESIZE)
    made, servers = [], []

    def connect(size):
        server = rendezvous.serve_rendezvous(None, ["localhost"] * size, "localhost", SECRET)
        servers.append(server)
        meeting = rendezvous.Meeting("127.0.0.1", server.port, SECRET)
        workers = [SharedMemoryCommunicator() for _ in range(size)]
        made.extend(workers)
        together([lambda r=r, w=w: w.join(Place(r, size, meeting)) for r, w in enumerate(workers)])
        return workers

    yield connect
    for each in made:
        each.disconnect()
    for server in servers:
        server.stop()


def on_all(workers, call):
    return together([lambda w=w: call(w) for w in workers])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_exchange(connected, size):
    workers = connected(size)
    on_all(workers, exchanges.check_in_graph)
    on_all(workers, exchanges.check_outside)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.float16])
def test_sums_of_any_length_are_in_the_order_of_ranks(connected, dtype):
    workers = connected(3)
    for count in (0, 1, 1000, 4096, 10001):  # up to twenty pieces
        arrays = [(100 * np.random.RandomState(rank).randn(count)).astype(dtype)
                  for rank in range(3)]
        total = (arrays[0] + arrays[1]) + arrays[2]
        third = (total / 3).astype(dtype) if dtype == np.int64 else total * dtype(1.0 / 3)
        expected = {SUM: total, MEAN: third, MAX: np.max(arrays, 0)}
        for how in expected:
            for _ in range(3):  # places are written again
                for found in on_all(workers, lambda w, how=how, arrays=arrays: w.reduce(
                        "some", w.group.ranks, arrays[w.rank], how)):
                    assert found.dtype == dtype
                    np.testing.assert_array_equal(found, expected[how])


def test_others_may_give_more_or_nothing(connected):
    workers = connected(3)
    for lengths in ([0, 5000, 100], [3000, 0, 12000], [1, 2, 3], [0, 0, 0]):
        rows = [np.random.RandomState(rank).rand(length, 2) for rank, length in enumerate(lengths)]
        for found in on_all(workers, lambda w, rows=rows: w.exchange(
                "rows", w.group.ranks, rows[w.rank])):
            for one, own in zip(found, rows):
                np.testing.assert_array_equal(one, own)


def test_what_is_no_row_of_memory_after_the_other_passes_too(connected):
    workers = connected(2)
    table = np.random.RandomState(0).rand(90, 70)
    for found in on_all(workers, lambda w: w.reduce("t", w.group.ranks, table.T[::2], SUM)):
        np.testing.assert_array_equal(found, 2 * table.T[::2])


def test_other_shapes_are_an_error_on_all(connected):
    workers = connected(2)

    def reduce(worker):
        with pytest.raises(ValueError, match=r"float32\[2\], float32\[3\] to one exchange"):
            worker.reduce("s", worker.group.ranks, np.zeros(2 + worker.rank, np.float32), SUM)

    on_all(workers, reduce)


def test_many_exchanges_may_come_in_any_order(connected):
    workers = connected(2)
    long = np.arange(3000.0)

    def train(worker):
        order = range(40) if worker.rank else reversed(range(40))
        config = tf.ConfigProto()
        worker.prepare_session(config)
        with tf.Graph().as_default(), tf.Session(config=config) as session:
            sums = {n: worker.all_reduce(tf.constant(n * long), "s{}".format(n),
                                         worker.group)[0] for n in order}
            return [session.run(sums) for _ in range(5)]

    for runs in on_all(workers, train):
        for found in runs:
            assert sorted(found) == list(range(40))
            for number, total in found.items():
                np.testing.assert_array_equal(total, 2 * number * long)


def test_some_of_the_workers_exchange_while_others_do_not(connected):
    workers = connected(3)
    found = on_all([workers[0], workers[2]], lambda w: w.reduce(
        "pair", (0, 2), np.full(2000, float(w.rank)), SUM))
    for total in found:
        np.testing.assert_array_equal(total, np.full(2000, 2.0))


def test_memory_does_not_grow_with_what_passes(connected):
    workers = connected(3)
    size = []
    for count in (1000, 100000, 100000):
        on_all(workers, lambda w, count=count: w.reduce(
            "some", w.group.ranks, np.zeros(count), SUM))
        size.append(os.stat(workers[0]._own.where.path).st_size)
    assert size == [5 * mmap.PAGESIZE] * 3  # the mark, two pieces, two of shares


def test_who_leaves_ends_the_others_waits(connected):
    workers = connected(3)
    begun = threading.Event()

    def work(worker):
        if worker.rank == 1:
            begun.wait(SECONDS)
            worker.disconnect()
            return
        begun.set()
        with pytest.raises(Disconnected, match="worker . has ended"):
            worker.reduce("never", worker.group.ranks, np.zeros(5), SUM)
        assert not worker.is_connected
        with pytest.raises(Disconnected, match="worker . has ended"):
            worker.all_reduce_max([1])
        worker.disconnect()

    on_all(workers, work)


def test_what_came_before_the_end_counts(connected):
    chief, other = connected(2)
    assert other.all_reduce_max([7], seconds=0.0) is None  # it has said what it gives
    other.disconnect()
    assert chief.all_reduce_max([3]) == [7]
    with pytest.raises(Disconnected, match="worker 1 has ended"):
        chief.all_reduce_max([3])


def test_what_one_said_before_it_gave_up_is_no_answer_to_a_step_that_failed_for_that(connected):
    """It came to a meeting, the others did not, and it left: so they did not fail alike."""
    first, second = connected(2)
    assert second.all_reduce_max([1], 0.01) is None
    second.disconnect()
    error = tf.errors.UnknownError(None, None, "worker 1 has ended")
    assert not first.broke(error)
    with pytest.raises(Disconnected) as raised:
        first.reduce("gradients", (0, 1), np.ones(3, np.float32), SUM)
    assert str(raised.value) == "worker 1 has ended" and first.broke(error)
    context = mock.Mock(connection=first)
    with pytest.raises(epl.WorkerLostError, match="the connection to the other workers is lost"):
        coordination.after_failure(context, error)


def test_an_exchange_has_a_limit_in_time(connected):
    assert connected(2)[0].all_reduce_max([1], seconds=0.01) is None


def test_an_interrupted_exchange_ends_the_connection(connected, monkeypatch):
    chief, other = connected(2)

    class Interrupted(BaseException):
        pass

    def interrupted(seconds):
        raise Interrupted()

    monkeypatch.setattr(chief._mesh, "_read", interrupted)
    with pytest.raises(Interrupted):
        chief.all_reduce_max([1])
    assert not chief.is_connected
    with pytest.raises(Disconnected, match="worker 0 has ended"):
        other.all_reduce_max([1])
        other.all_reduce_max([1])


def test_a_stopped_worker_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(mesh, "LOOK_EVERY_S", 1.0)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        watch = mesh.Watch({1: process.pid}, patience=3.0)
        assert [watch.look() for _ in range(9)] == [""] * 9
        process.send_signal(signal.SIGSTOP)
        while not mesh._is_stopped(process.pid):
            time.sleep(0.001)
        assert [watch.look() for _ in range(4)] == [""] * 3 + ["worker 1 has been stopped for 3 s"]
    finally:
        process.kill()
        process.wait()
    assert not mesh._is_stopped(process.pid)


def test_workers_of_two_machines_are_refused():
    where = segments.Where("/proc/1/fd/3", "mark")
    notes = [joining._Note(joining._machine(), 1, 1, where)] * 2
    joining._check_same_machine(notes)
    notes.append(notes[0]._replace(machine="another"))
    with pytest.raises(epl.ConfigError, match="worker 0 and worker 2 are no such ones"):
        joining._check_same_machine(notes)


def test_memory_that_cannot_be_opened_is_an_error_with_a_cure():
    gone = joining._Note("here", 1, 1, segments.Where("/proc/1/fd/none", "mark"))
    with pytest.raises(epl.ConfigError, match="No such file.* choose another one"):
        joining._seen([gone])


def test_a_file_that_is_another_one_is_not_read():
    own = segments.Segment()
    segments.Seen(own.where)
    with pytest.raises(ValueError, match="is another one"):
        segments.Seen(own.where._replace(mark="0" * len(own.where.mark)))
    os.close(own._file)


def test_a_child_of_a_worker_does_not_keep_its_connections_open(connected):
    chief, other = connected(2)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writes)
        os.read(reads, 1)  # until the test has ended
        os._exit(0)
    os.close(reads)
    try:
        for peer in other._mesh._peers.values():
            peer.connection.close()  # as the end of its process does
        with pytest.raises(Disconnected, match="worker 1 has ended"):
            chief.all_reduce_max([1])
    finally:
        os.close(writes)
        os.waitpid(child, 0)
