# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rendezvous: what is served where, and what each worker is told."""

import http.client
import socket

import pytest

from epl.errors import ConfigError
from epl.launcher.rendezvous import VARIABLES, serve_rendezvous, worker_environment

LOCAL = ["127.0.0.1", "127.0.0.1"]


@pytest.fixture
def serve():
    servers = []

    def start(port, hosts):
        server, chosen = serve_rendezvous(port, hosts)
        servers.append(server)
        return server, chosen

    yield start
    for server in servers:
        server.stop()


def ranks(index, hosts):
    environment = worker_environment(index, hosts, "127.0.0.1", 4000)
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE", "HOSTNAME")
    return tuple(environment["HOROVOD_" + name] for name in names)


def test_it_keeps_what_workers_put_there(serve):
    _, port = serve(None, LOCAL)
    for method, body in (("PUT", b"address of 0"), ("GET", None)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(method, "/global/0", body=body)
        reply = connection.getresponse()
        assert reply.status == 200
        text = reply.read()
        connection.close()
    assert text == b"address of 0"


def test_local_jobs_are_served_on_loopback_only(serve):
    server, _ = serve(None, LOCAL)
    assert server.server_address[0] == "127.0.0.1"
    server, _ = serve(None, ["127.0.0.1", "otherhost"])
    assert server.server_address[0] == "0.0.0.0"


def test_a_chosen_port(serve):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert serve(free, LOCAL)[1] == free
    with pytest.raises(ConfigError, match="port {} .*in use".format(free)):
        serve_rendezvous(free, LOCAL)


def test_stop_frees_the_port():
    server, port = serve_rendezvous(None, LOCAL)
    server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("index, hosts, expected", [
    (0, LOCAL, ("0", "2", "0", "2", "0", "1", "127.0.0.1")),
    (1, LOCAL, ("1", "2", "1", "2", "0", "1", "127.0.0.1")),
    (1, ["a", "b"], ("1", "2", "0", "1", "1", "2", "b")),
    (2, ["a", "a", "b"], ("2", "3", "0", "1", "1", "2", "b")),
])
def test_ranks(index, hosts, expected):
    assert ranks(index, hosts) == expected


def test_variables_of_a_local_job():
    environment = worker_environment(0, LOCAL, "127.0.0.1", 4000)
    assert set(environment) == set(VARIABLES)
    assert environment["HOROVOD_GLOO_RENDEZVOUS_ADDR"] == "127.0.0.1"
    assert environment["HOROVOD_GLOO_RENDEZVOUS_PORT"] == "4000"
    assert environment["HOROVOD_CONTROLLER"] == environment["HOROVOD_CPU_OPERATIONS"] == "gloo"
    interfaces = [name for _, name in socket.if_nameindex()]
    assert environment["HOROVOD_GLOO_IFACE"] in interfaces


def test_a_users_interface_wins_between_machines_only(monkeypatch):
    monkeypatch.setenv("HOROVOD_GLOO_IFACE", "ib7")
    assert worker_environment(0, ["a", "b"], "192.0.2.1", 1)["HOROVOD_GLOO_IFACE"] == "ib7"
    assert worker_environment(0, LOCAL, "127.0.0.1", 1)["HOROVOD_GLOO_IFACE"] != "ib7"


def test_scattered_workers_of_one_host_are_refused():
    with pytest.raises(ConfigError, match="host a are not next to each other in a,b,a"):
        worker_environment(0, ["a", "b", "a"], "127.0.0.1", 1)
