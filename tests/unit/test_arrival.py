# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers that wait in `epl.init` for others, as threads around the rendezvous of a job."""

import concurrent.futures
import contextlib
import http.server
import socket
import threading

import pytest

from epl.communicators.horovod import arrival
from epl.communicators.horovod.rendezvous import Meeting, serve_rendezvous, worker_environment
from epl.errors import ConfigError, WorkerLostError

SECONDS = 60.0
SECRET = "0123456789abcdef"


def environment(rank, hosts, port):
    return worker_environment(rank, hosts, Meeting("127.0.0.1", port, SECRET))


@pytest.fixture
def job(monkeypatch):
    """Starts the rendezvous of a job; gives the environment of a worker."""
    servers = []

    def begin(size, port=None):
        hosts = ["127.0.0.1"] * size
        servers.append(serve_rendezvous(port, hosts, "127.0.0.1", SECRET))
        return [dict(environment(rank, hosts, servers[-1].port), EPL_NUM_WORKERS="2")
                for rank in range(size)]

    monkeypatch.setattr(arrival, "SAY_EVERY_S", 0.2)
    yield begin
    for server in servers:
        server.stop()


class Workers:
    """Threads that call `wait_for_all`.

    Attributes:
      said: what worker i wrote.
    """

    def __init__(self, environments):
        self._environments = environments
        self._pool = concurrent.futures.ThreadPoolExecutor(len(environments))
        self._waits = {}
        self.said = [[] for _ in environments]
        self.spoke = threading.Event()

    def come(self, *workers):
        for worker in workers:
            self._waits[worker] = self._pool.submit(
                arrival.wait_for_all, self._environments[worker], self._hear(worker))

    def _hear(self, worker):
        def say(text):
            self.said[worker].append(text)
            self.spoke.set()
        return say

    def waiting(self):
        return sorted(worker for worker, wait in self._waits.items() if not wait.done())

    def finish(self):
        for wait in self._waits.values():
            wait.result(timeout=SECONDS)


@pytest.mark.parametrize("size, late", [(2, 0), (2, 1), (5, 3), (32, 0)])
def test_those_who_are_there_wait_for_the_last_and_say_who_it_is(job, size, late):
    workers = Workers(job(size))
    early = [worker for worker in range(size) if worker != late]
    workers.come(*early)
    assert workers.spoke.wait(SECONDS)
    assert workers.waiting() == early
    workers.come(late)
    workers.finish()
    first = early[0]
    named = "epl: worker {} waits in epl.init for worker {} (".format(first, late)
    assert named in "".join(workers.said[first])
    assert not any(workers.said[worker] for worker in early[2:])


def test_workers_that_connect_in_two_ways_are_told(job):
    environments = job(2)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        chief = pool.submit(arrival.wait_for_all, environments[0], communicator="native")
        other = pool.submit(arrival.wait_for_all, environments[1])
        chief.result(timeout=SECONDS)
        with pytest.raises(ConfigError, match="by 'native', worker 1 by 'horovod'; set"):
            other.result(timeout=SECONDS)


def test_all_that_are_missing_are_named(job):
    workers = Workers(job(4))
    workers.come(2)
    assert workers.spoke.wait(SECONDS)
    assert "worker 2 waits in epl.init for worker 0, 1, 3 (" in workers.said[2][0]
    workers.come(0, 1, 3)
    workers.finish()


class Clock:
    """Stands for `time` in a module; it is what is slept."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_who_is_missing_is_said_every_ten_seconds(monkeypatch):
    monkeypatch.undo()
    clock, said = Clock(), []
    monkeypatch.setattr(arrival, "time", clock)

    class Notes:
        def put(self, name, value):
            return True

        def has(self, name):
            return clock.now > 1045.0

    arrival._Arrival(Notes(), 1, 2, None, said.append).wait()
    assert said == ["epl: worker 1 waits in epl.init for worker 0 ({} s)\n".format(seconds)
                    for seconds in (10, 20, 30, 40)]


def test_a_rendezvous_that_comes_later_is_waited_for(job):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hosts = ["127.0.0.1"] * 2
    workers = Workers([environment(rank, hosts, port) for rank in range(2)])
    workers.come(1)
    assert workers.spoke.wait(SECONDS)
    assert "worker 1 waits in epl.init for worker 0 (" in workers.said[1][0]
    job(2, port)
    workers.come(0)
    workers.finish()


def test_a_limit_ends_the_wait_with_an_error_that_names_who_is_missing(job):
    variables = dict(job(3)[1], EPL_START_TIMEOUT="0.3")
    with pytest.raises(WorkerLostError, match=r"worker 0, 2 did not come to epl.init in 0.3 s"):
        arrival.wait_for_all(variables)


def test_how_long_is_waited():
    assert arrival._limit({}) == 600.0
    assert arrival._limit({"EPL_NUM_WORKERS": "2"}) is None  # epl-launch has --start_timeout
    assert arrival._limit({"EPL_NUM_WORKERS": "2", "EPL_START_TIMEOUT": "7"}) == 7.0


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "9" * 5000 + "x"])
def test_a_limit_that_is_none(text):
    with pytest.raises(ConfigError, match="EPL_START_TIMEOUT = '.{1,50}': a number of seconds"):
        arrival.wait_for_all({"EPL_START_TIMEOUT": text})


@pytest.mark.parametrize("address, port, path", [
    ("127.0.0.1", "{}", "/epl_arrival/0"), ("127.0.0.1:{}/word", "7", "/word:7/epl_arrival/0")])
def test_the_notes_are_where_horovod_looks(address, port, path):
    """It takes the address as it is, with whatever is in it, for the beginning of its URLs."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            asked.append(self.path)
            self.send_response(403)
            self.end_headers()

        def log_message(self, *args):
            pass

    with serving(Handler) as chosen:
        store = arrival.Store(address.format(chosen), port.format(chosen))
        with pytest.raises(ConfigError, match="127.0.0.1:{} is that of another job".format(chosen)):
            store.put("0")
    assert asked == [path]


@contextlib.contextmanager
def serving(handler):
    """A server; gives its port."""
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_where_nobody_keeps_notes_there_is_no_wait():
    arrival.wait_for_all({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"})
    with serving(http.server.BaseHTTPRequestHandler) as port:
        arrival.wait_for_all({
            "HOROVOD_RANK": "0", "HOROVOD_SIZE": "2", "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port)})
