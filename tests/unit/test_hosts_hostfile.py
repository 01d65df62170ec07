# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`--hosts`, `--hostfile`, `--machine_list`: what they mean, and what is refused."""

import re
import socket

import pytest

from epl.errors import ConfigError
from epl.launcher import hostfile
from epl.launcher.options import Options
from epl.launcher.own import is_this_machine
from epl.launcher.placement import count_workers, placement
from epl.launcher.plan import LOCAL


@pytest.mark.parametrize("text, expected", [
    ("h1", [("h1", 1)]),
    ("h1:2,h2:3", [("h1", 2), ("h2", 3)]),
    (" h1:2 , h2 ", [("h1", 2), ("h2", 1)]),
    ("10.0.0.1:4", [("10.0.0.1", 4)]),
    ("gpu-node_7.example:1", [("gpu-node_7.example", 1)]),
])
def test_hosts(text, expected):
    assert hostfile.parse_hosts(text) == expected


@pytest.mark.parametrize("text, message", [
    ("h1:2,h1:1", "--hosts h1:2,h1:1: host h1 is there twice"),
    ("h1:0", "'0' is not a number of 1 to 65536"),
    ("h1:two", "'two' is not a number"),
    ("h1:", "'' is not a number"),
    ("h1,,h2", "a host has no name"),
    ("-oProxyCommand=x", "'-oProxyCommand=x' is no host name"),
    ("ada@h1", "'ada@h1' is no host name"),
    ("h1;rm:1", "'h1;rm' is no host name"),
    ("[::1]:2", r"is not a number of 1 or more|no host name"),
])
def test_wrong_hosts(text, message):
    with pytest.raises(ConfigError, match=message):
        hostfile.parse_hosts(text)


def test_hostfile(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# our machines\n\nh1 slots=2  # the new one\n  h2\n")
    assert hostfile.read_hostfile(str(path)) == [("h1", 2), ("h2", 1)]


@pytest.mark.parametrize("text, message", [
    ("h1\nh2 slot=2\n", ":2: 'slot=2' is not understood"),
    ("h1 slots=2 fast\n", ":1: 'slots=2 fast' is not understood"),
    ("h1 slots=-1\n", ":1: '-1' is not a number"),
    ("h1\n# h1\nh1 slots=3\n", ":3: host h1 is in line 1 already"),
    ("h1:2\n", ":1: 'h1:2' is no host name"),
    ("# nobody\n", "names no host"),
])
def test_wrong_hostfiles_are_refused_with_their_line(tmp_path, text, message):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as refused:
        hostfile.read_hostfile(str(path))
    assert str(path) in str(refused.value)


def test_a_hostfile_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read .*No such file"):
        hostfile.read_hostfile(str(tmp_path / "nowhere"))


def test_machine_list():
    assert hostfile.parse_machine_list("10.0.0.1:5000, h2:5001") == [
        ("10.0.0.1", 5000), ("h2", 5001)]


@pytest.mark.parametrize("text, message", [
    ("10.0.0.1", "'10.0.0.1' has no port"),
    ("h1:5000,h1:5001", "host h1 is there twice"),
    ("h1:0", "no port 0"),
    ("h1:70000", "no port 70000"),
    ("h1:5000,", "'' has no port"),
])
def test_wrong_machine_lists(text, message):
    with pytest.raises(ConfigError, match=message):
        hostfile.parse_machine_list(text)


@pytest.mark.parametrize("rank, message", [
    (None, "needs --machine_rank: which of the 2 machines"),
    (2, "--machine_rank 2 is not in --machine_list, which has 2 machine.*use 0 to 1"),
])
def test_wrong_machine_ranks(rank, message):
    with pytest.raises(ConfigError, match=message):
        hostfile.check_machine_rank(rank, hostfile.parse_machine_list("h1:1,h2:1"))


def options(num_workers=0, **fields):
    return Options(num_workers, 1, None, "", "train.py", [], **fields)


@pytest.mark.parametrize("fields, expected", [
    (dict(num_workers=3), [LOCAL] * 3),
    (dict(hosts="alpha.invalid:2,localhost:1"), ["alpha.invalid"] * 2 + [LOCAL]),
    (dict(hosts="alpha.invalid:2,beta.invalid:2", num_workers=3),
     ["alpha.invalid"] * 2 + ["beta.invalid"]),
    (dict(hosts="alpha.invalid:2,beta.invalid:2", num_workers=1), ["alpha.invalid"]),
    (dict(machine_list="h1:1,h2:1", machine_rank=1), ["h1", LOCAL]),
    (dict(machine_list="h1:1,h2:1", machine_rank=0, num_workers=4), [LOCAL, LOCAL, "h2", "h2"]),
])
def test_placement(fields, expected):
    assert placement(options(**fields)) == expected
    assert count_workers(options(**fields)).num_workers == len(expected)


@pytest.mark.parametrize("fields, message", [
    (dict(hosts="a.invalid:2,b.invalid", num_workers=4),
     "--num_workers 4 is more than the 3 slot.s. of the hosts: a.invalid:2,b.invalid:1"),
    (dict(hosts="a", hostfile="b"), "--hosts and --hostfile are both given"),
    (dict(hosts="a", machine_list="b:1", machine_rank=0), "--machine_list and --hosts are both"),
    (dict(machine_list="a:1,b:1"), "needs --machine_rank"),
    (dict(machine_rank=1, num_workers=2), "--machine_rank 1 needs --machine_list"),
    (dict(machine_list="a:1,b:1", machine_rank=0, num_workers=3),
     "--num_workers 3 workers cannot be divided equally between the 2 machines"),
    (dict(machine_list="a:1,b:1", machine_rank=0, num_workers=1), "cannot be divided"),
    (dict(hosts="localhost:1,127.0.0.1:1"), "127.0.0.1, localhost are all this machine"),
    (dict(hosts="a.invalid", host_timeout=1.0), "--host_timeout 1 is too short"),
    (dict(hosts="a.invalid,localhost", debug=True), "but its host is a.invalid"),
])
def test_contradictions(fields, message):
    with pytest.raises(ConfigError, match=message):
        count_workers(options(**fields))


@pytest.mark.parametrize("name, expected", [
    ("localhost", True), ("127.0.0.1", True), (socket.gethostname(), True),
    ("192.0.2.77", False), ("no-such-name.invalid", False),
])
def test_is_this_machine(name, expected):
    assert is_this_machine(name) is expected


def test_messages_of_a_hostfile_begin_with_file_and_line(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("h1\nh2 3\n")
    with pytest.raises(ConfigError, match="^{}:2: ".format(re.escape(str(path)))):
        hostfile.read_hostfile(str(path))
