# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rendezvous: what is served where, and what each worker is told."""

import contextlib
import http.client
import socket

import pytest

from epl.communicators.horovod import store
from epl.communicators.horovod.rendezvous import (
    Meeting,
    answer,
    meeting_of,
    serve_rendezvous,
    worker_environment,
)
from epl.communicators.horovod.variables import ALL as VARIABLES
from epl.errors import ConfigError

LOCAL = ["127.0.0.1", "127.0.0.1"]
SECRET = "5ecret" * 5
MEETING = Meeting("127.0.0.1", 4000, SECRET)
PREFIX = "/{}:4000".format(SECRET)  # as Horovod's client writes it
PLACE = PREFIX + "/global/0"


def ask(server, method, path, body=None, headers=None):
    """Status and body of an answer; whatever is asked, the server goes on."""
    with socket.create_connection(server.server_address, timeout=60) as connection:
        lines = ["{} {} HTTP/1.1".format(method, path)]
        fields = {"Content-Length": str(len(body))} if body is not None else {}
        lines += ["{}: {}".format(*field) for field in dict(fields, **(headers or {})).items()]
        connection.sendall("\r\n".join(lines + ["", ""]).encode() + (body or b""))
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        return reply.status, reply.read()


@pytest.fixture
def serve():
    servers = []

    def start(port, hosts, host="127.0.0.1"):
        servers.append(serve_rendezvous(port, hosts, host, SECRET))
        return servers[-1]

    yield start
    for server in servers:
        if server.fileno() >= 0:
            server.stop()


def ranks(index, hosts):
    environment = worker_environment(index, hosts, MEETING)
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE", "HOSTNAME")
    return tuple(environment["HOROVOD_" + name] for name in names)


def test_it_keeps_what_workers_put_there(serve):
    server = serve(None, LOCAL)
    assert ask(server, "PUT", PLACE, b"address of 0") == (200, b"")
    assert ask(server, "GET", PLACE) == (200, b"address of 0")
    assert ask(server, "GET", PLACE[:-1] + "1") == (404, b"")


@pytest.mark.parametrize("path", [
    "/global/0", "/", "//", "*", "/{}".format("0" * 32), "/{}/global/0".format("0" * 32),
    "/{}:4711/global/0".format("0" * 32), "/{}/global/0".format(SECRET[:-1]),
    "/{}x/global/0".format(SECRET), "/../{}/global/0".format(SECRET), "/etc/passwd",
    "/epl/__init__.py", "/caf\u00e9/global/0"])
def test_who_does_not_know_the_secret_gets_nothing(serve, path):
    server = serve(None, LOCAL)
    assert ask(server, "PUT", PLACE, b"address of 0") == (200, b"")
    for method, body in (("GET", None), ("PUT", b"mine"), ("DELETE", None)):
        assert ask(server, method, path, body) in ((403, b""), (400, b""))
    assert ask(server, "GET", PLACE) == (200, b"address of 0")


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "PATCH", "TRACE", "NONSENSE"])
def test_other_methods_are_not_answered(serve, method):
    """Horovod's own server answers HEAD with what it finds in the working directory."""
    server = serve(None, LOCAL)
    for path in (PLACE, "/setup.py", "/"):
        assert ask(server, method, path) == (501, b"")


@pytest.mark.parametrize("path", [
    PREFIX, PREFIX + "/", PREFIX + "/global", PREFIX + "/global/", PREFIX + "//0",
    PREFIX + "/global/0/more", PREFIX + "/../global/0", PREFIX + "/global/" + "0" * 300])
def test_there_are_scopes_and_keys_only(serve, path):
    assert ask(serve(None, LOCAL), "GET", path) == (400, b"")


def test_sizes_are_bounded(serve, monkeypatch):
    server = serve(None, LOCAL)
    for length in ("", "-1", "1e3", "x", "\u0661", "1" * 5000):
        assert ask(server, "PUT", PLACE, headers={"Content-Length": length})[0] in (400, 411)
    assert ask(server, "PUT", PLACE, headers={"Content-Length": str(store.MAX_VALUE_BYTES + 1)}
               ) == (413, b"")
    monkeypatch.setattr(store, "MAX_STORE_BYTES", 1000)
    assert [ask(server, "PUT", PREFIX + "/a/%d" % key, b"x" * 300)[0] for key in range(4)] == [
        200, 200, 200, 507]
    assert ask(server, "PUT", PREFIX + "/a/1", b"y" * 300) == (200, b"")  # takes no more room
    assert ask(server, "DELETE", PREFIX + "/a/0") == (200, b"")
    assert ask(server, "PUT", PREFIX + "/a/3", b"x" * 300) == (200, b"")


def test_there_are_no_files_behind_it(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(b"precious")
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "1").write_bytes(b"precious")
    server = serve(None, LOCAL)
    for key in "01":
        assert ask(server, "GET", PREFIX + "/global/" + key) == (404, b"")
    assert ask(server, "PUT", PREFIX + "/global/2", b"address of 2") == (200, b"")
    assert ask(server, "DELETE", PREFIX + "/other/0") == (200, b"")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "0", "global", "global/1"]


def test_who_says_nothing_keeps_nobody_out_for_long(serve, monkeypatch):
    """So many are served at once, each for so long; who comes then is let go, and comes again."""
    assert 0 < store.Handler.timeout <= 60 and 0 < store._MAX_SERVED <= 1000
    monkeypatch.setattr(store, "_MAX_SERVED", 2)
    monkeypatch.setattr(store.Handler, "timeout", 600.0)
    server = serve(None, LOCAL)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(server.server_address, timeout=60))
        with socket.create_connection(server.server_address, timeout=60) as third:
            assert third.recv(1) == b""
    monkeypatch.setattr(store.Handler, "timeout", 0.1)
    server = serve(None, LOCAL)
    with socket.create_connection(server.server_address, timeout=60) as silent:
        assert silent.recv(1) == b""


def test_a_scope_that_all_have_done_with_is_empty_again(serve):
    """As a second hvd.init in the same processes needs it."""
    server = serve(None, LOCAL)
    for scope in ("global", "local_127.0.0.1"):
        for key in ("0", "1", "rank_0"):
            ask(server, "PUT", "{}/{}/{}".format(PREFIX, scope, key), b"x")
        for done, left in (("0", 200), ("0", 200), ("1", 404)):
            assert ask(server, "DELETE", "{}/{}/{}".format(PREFIX, scope, done)) == (200, b"")
            assert ask(server, "GET", "{}/{}/rank_0".format(PREFIX, scope))[0] == left


def test_half_a_request_holds_up_nobody(serve):
    server = serve(None, LOCAL)
    with socket.create_connection(("127.0.0.1", server.port)) as silent, \
            socket.create_connection(("127.0.0.1", server.port)) as odd:
        silent.sendall(b"PUT /")
        odd.sendall(b"\0\xff" * 1000 + b"\r\n\r\n")
        assert ask(server, "PUT", PLACE, b"x") == (200, b"")


def test_a_worker_can_ask_whether_it_is_known(serve):
    server = serve(None, LOCAL)
    for word, status in ((SECRET, 404), ("0" * 32, 403), ("", 403)):
        assert answer(Meeting("127.0.0.1", server.port, word)) == status
    server.stop()
    assert answer(Meeting("127.0.0.1", server.port, SECRET)) is None


def test_local_jobs_are_served_on_loopback_only(serve, capsys):
    server = serve(None, LOCAL)
    assert server.server_address[0] == "127.0.0.1"
    server = serve(None, ["127.0.0.1", "otherhost"], "127.0.0.2")
    assert server.server_address[0] == "127.0.0.2"  # the one address that the hosts use
    assert capsys.readouterr().err == ""
    server = serve(None, ["127.0.0.1", "otherhost"], "192.0.2.1")
    assert server.server_address[0] == "0.0.0.0"  # one that is passed on to this machine
    assert "epl: 192.0.2.1 is no address of this machine" in capsys.readouterr().err


def test_a_chosen_port(serve):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert serve(free, LOCAL).port == free
    with pytest.raises(ConfigError, match="port {} .*in use".format(free)):
        serve_rendezvous(free, LOCAL, "127.0.0.1", SECRET)


def test_stop_frees_the_port():
    server = serve_rendezvous(None, LOCAL, "127.0.0.1", SECRET)
    server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


@pytest.mark.parametrize("index, hosts, expected", [
    (0, LOCAL, ("0", "2", "0", "2", "0", "1", "127.0.0.1")),
    (1, LOCAL, ("1", "2", "1", "2", "0", "1", "127.0.0.1")),
    (1, ["a", "b"], ("1", "2", "0", "1", "1", "2", "b")),
    (2, ["a", "a", "b"], ("2", "3", "0", "1", "1", "2", "b")),
])
def test_ranks(index, hosts, expected):
    assert ranks(index, hosts) == expected


def test_variables_of_a_local_job():
    environment = worker_environment(0, LOCAL, MEETING)
    assert set(environment) == set(VARIABLES)
    assert environment["HOROVOD_GLOO_RENDEZVOUS_ADDR"] == "127.0.0.1:4000/" + SECRET
    assert meeting_of(environment) == MEETING
    assert meeting_of({}) is None
    assert environment["HOROVOD_GLOO_RENDEZVOUS_PORT"] == "4000"
    assert environment["HOROVOD_CONTROLLER"] == environment["HOROVOD_CPU_OPERATIONS"] == "gloo"
    interfaces = [name for _, name in socket.if_nameindex()]
    assert environment["HOROVOD_GLOO_IFACE"] in interfaces


def test_a_users_interface_wins_between_machines_only(monkeypatch):
    monkeypatch.setenv("HOROVOD_GLOO_IFACE", "ib7")
    far = worker_environment(0, ["a", "b"], Meeting("192.0.2.1", 1, ""))
    assert far["HOROVOD_GLOO_IFACE"] == "ib7"
    assert worker_environment(0, LOCAL, MEETING)["HOROVOD_GLOO_IFACE"] != "ib7"


def test_scattered_workers_of_one_host_are_refused():
    with pytest.raises(ConfigError, match="host a are not next to each other in a,b,a"):
        worker_environment(0, ["a", "b", "a"], MEETING)
