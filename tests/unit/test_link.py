# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The workers' own connections: maxima, ends, limits, and who is let in."""

import os
import socket
import threading
import time

import pytest

from epl.communicators import link
from epl.communicators.base import Disconnected
from epl.communicators.handshake import Listener, Place

SECONDS = 60.0  # far above what anything here takes


class Pair:
    """Something in a thread, and what it came to."""

    def __init__(self, call):
        self._result = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call):
        try:
            self._result = call()
        except Exception as error:
            self._result = error

    def result(self):
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self._result


@pytest.fixture
def made():
    """Links of 3 workers, which are closed afterwards."""
    links = connected(3)
    yield links
    for each in links:
        each.close()


def connected(size):
    listener = Listener("127.0.0.1")
    others = [Pair(lambda rank=rank: link.joined(listener.place, rank, SECONDS))
              for rank in range(1, size)]
    return [link.accepted(listener, size, SECONDS)] + [other.result() for other in others]


def test_the_maximum_is_the_same_on_all(made):
    for turn in range(3):
        numbers = [[rank, -rank, turn * 2 ** 61 - rank] for rank in range(3)]
        others = [Pair(lambda link=made[rank], own=numbers[rank]: link.all_reduce_max(own))
                  for rank in (1, 2)]
        found = [made[0].all_reduce_max(numbers[0], SECONDS)] + [o.result() for o in others]
        assert found == [[2, 0, turn * 2 ** 61]] * 3


@pytest.mark.parametrize("leaves", [0, 1])
def test_whoever_leaves_ends_the_others_exchanges(made, leaves):
    others = [rank for rank in range(3) if rank != leaves]
    waiting = [Pair(lambda rank=rank: made[rank].all_reduce_max([1])) for rank in others]
    made[leaves].close()
    first = waiting[0].result()  # worker 0, if it is not the one that left: it notices, and ...
    assert isinstance(first, Disconnected), first
    assert "worker {}".format(leaves) in str(first)
    made[others[0]].close()  # ... leaves as well
    assert isinstance(waiting[1].result(), Disconnected)
    with pytest.raises(Disconnected):
        made[others[0]].all_reduce_max([1])


@pytest.mark.parametrize("early", [0, 1])
def test_an_exchange_has_a_limit_in_time_and_no_other_follows_it(made, early):
    assert made[early].all_reduce_max([1], 0.01) is None
    with pytest.raises(Disconnected, match="given up"):
        made[early].all_reduce_max([1])


def test_other_numbers_are_another_exchange(made):
    other = Pair(lambda: made[1].all_reduce_max([1, 2, 3]))
    with pytest.raises(Disconnected, match="worker 1 came to another exchange"):
        made[0].all_reduce_max([1, 2])
    assert isinstance(other.result(), Disconnected)


def test_an_interrupted_exchange_is_the_last(made, monkeypatch):
    """An answer that comes later would be taken for that of the next."""
    monkeypatch.setattr(link, "LOOK_EVERY_S", 0.01)

    def interrupt():
        raise KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        made[1].all_reduce_max([1], look=interrupt)
    with pytest.raises(Disconnected, match="interrupted"):
        made[1].all_reduce_max([1])
    with pytest.raises(Disconnected, match="worker 1"):
        made[0].all_reduce_max([1])


def test_a_child_does_not_hold_the_connection_open(made):
    """Processes that load data are forked, and may outlive the worker."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(read, 1)
        os._exit(0)
    try:
        made[1].forget()  # closes the file alone, as the end of the process would
        with pytest.raises(Disconnected, match="worker 1 has closed"):
            made[0].all_reduce_max([1], SECONDS)
    finally:
        os.write(write, b"1")
        os.waitpid(child, 0)


@pytest.mark.parametrize("says", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\1\0\0\0" + 96 * b"0",
                                  b"\xff" * 100])
def test_a_stranger_is_not_let_in_and_makes_nobody_wait(says):
    listener = Listener("127.0.0.1")
    with socket.create_connection(("127.0.0.1", listener.place.port)) as stranger:
        stranger.sendall(says)
        other = Pair(lambda: link.joined(listener.place, 1, SECONDS))
        begin = time.monotonic()
        own = link.accepted(listener, 2, SECONDS)
        assert own is not None and time.monotonic() - begin < 0.5 * SECONDS
        joined = other.result()
        for each in (own, joined):
            each.close()
    with pytest.raises(OSError):  # nobody listens any more
        socket.create_connection(("127.0.0.1", listener.place.port)).close()


def test_a_wrong_secret_connects_nobody():
    listener = Listener("127.0.0.1")
    chief = Pair(lambda: link.accepted(listener, 2, 1.0))
    assert link.joined(listener.place._replace(secret="0" * 32), 1, SECONDS) is None
    assert chief.result() is None


def test_a_place_where_nobody_listens_is_no_link():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = Place("127.0.0.1", free.getsockname()[1], "0" * 32)
        assert link.joined(place, 1, 5.0) is None
