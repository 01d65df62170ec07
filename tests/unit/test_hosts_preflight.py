# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the machines of a job must have in common, and who may join."""

import contextlib
import platform
import socket
import subprocess
import sys

import pytest

from epl.launcher import join, preflight
from epl.launcher.channel import ChannelClosed, Message
from epl.launcher.devices import DevicePlan
from epl.launcher.hostfile import parse_machine_list
from epl.launcher.join import Hello, Members, hello_fields, read_hello
from epl.launcher.options import Options

MACHINES = parse_machine_list("10.0.0.1:5000,10.0.0.2:5000,10.0.0.3:5000")
MEMBER = preflight.Member("0.1.0", "3.7.16", "1.15.5", "0.28.1", "aaaa", "bbbb",
                        "--num_workers 3 --gpu_per_worker 1", "cpu")


def hello(rank, trouble="", **changes):
    return Hello(rank, MEMBER._replace(**changes), DevicePlan("cpu", [""]), trouble)


@pytest.mark.parametrize("changes, expected", [
    ({}, []),
    ({"tensorflow": "2.15.1"},
     ["the version of TensorFlow differs: 1.15.5 on h1, 2.15.1 on h2"]),
    ({"python": "3.8.0", "epl": "0.2.0"},
     ["the version of EPL differs: 0.1.0 on h1, 0.2.0 on h2",
      "the version of Python differs: 3.7.16 on h1, 3.8.0 on h2"]),
    ({"program": ""}, ["the script (SHA-256) differs: aaaa on h1, no file on h2"]),
    ({"arguments": "cccc"}, ["the script's arguments (SHA-256) differs: bbbb on h1, cccc on h2"]),
    ({"device_type": "gpu"}, ["the kind of device differs: cpu on h1, gpu on h2"]),
])
def test_differences(changes, expected):
    assert preflight.differences(["h1", "h2"], [MEMBER, MEMBER._replace(**changes)]) == expected


@pytest.mark.parametrize("others, reason", [
    ([hello(1), hello(2)], None),
    ([hello(2), hello(1)], None),
    ([hello(1), hello(1)],
     "--machine_rank 1 was given on two machines: peer0 and peer1"),
    ([hello(0)], "--machine_rank 0 was given on two machines: 10.0.0.1 and peer0"),
    ([hello(3)], "the machine at peer0 says it is --machine_rank 3 of 3"),
    ([hello(-1)], "the machine at peer0 says it is --machine_rank -1 of 3"),
    ([hello(1, horovod="0.27.0")],
     "the machines do not fit together: the version of Horovod differs: 0.28.1 on 10.0.0.1, "
     "0.27.0 on 10.0.0.2"),
    ([hello(1, shape="--num_workers 6 --gpu_per_worker 1")],
     "the machines do not fit together: the command line differs: --num_workers 3 "
     "--gpu_per_worker 1 on 10.0.0.1, --num_workers 6 --gpu_per_worker 1 on 10.0.0.2"),
    ([hello(2, trouble="its name is wrong")], "machine 2 (10.0.0.3): its name is wrong"),
])
def test_who_may_join(others, reason):
    joined = Members(MACHINES, hello(0))
    found = [joined.add(other, "peer{}".format(i)) for i, other in enumerate(others)]
    assert found[-1] == reason
    assert not any(found[:-1])


def test_who_is_missing():
    joined = Members(MACHINES, hello(0))
    assert joined.missing == ["1 (10.0.0.2)", "2 (10.0.0.3)"]
    joined.add(hello(2), "peer")
    assert joined.missing == ["1 (10.0.0.2)"]
    joined.add(hello(1), "peer")
    assert joined.missing == []
    joined.remove(2)
    assert joined.missing == ["2 (10.0.0.3)"]
    assert joined.add(hello(2), "peer") is None  # it may come back


@pytest.mark.parametrize("seconds, most, left", [(0.0, 9, 0), (600.0, 2, 2), (600.0, 9, 3)])
def test_strangers_have_so_much_time_and_there_are_so_many(monkeypatch, seconds, most, left):
    assert 1.0 <= join._STRANGER_S <= 60.0 and 1 <= join._MAX_STRANGERS <= 1000
    monkeypatch.setattr(join, "_STRANGER_S", seconds)
    monkeypatch.setattr(join, "_MAX_STRANGERS", most)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    machines = parse_machine_list("127.0.0.1:{},127.0.0.2:{}".format(port, port))
    gathering = join._Gathering(machines, hello(0), "secret", print, 10.0)
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(9):  # as `run` does; all of them are in the queue already
                for key, _ in gathering._selector.select(0.01):
                    key.data()
                gathering._keep_alive()
                gathering._accept_some()
            assert len(gathering._strangers) == left
    finally:
        gathering.close()


def test_hello_survives_its_message():
    first = hello(1, "trouble")
    assert read_hello(Message("hello", hello_fields(first))) == first
    with pytest.raises(ChannelClosed, match="something else than hello"):
        read_hello(Message("note", {"text": "?"}))


def options(script, *arguments, **fields):
    return Options(2, 1, None, "", str(script), list(arguments), **fields)


def test_the_script_is_known_by_its_content(tmp_path):
    one, same, other = [tmp_path / name for name in ("one.py", "same.py", "other.py")]
    one.write_text("print(1)")
    same.write_text("print(1)")
    other.write_text("print(2)")
    digests = [preflight.describe(options(path), "cpu").program for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert preflight.describe(options(tmp_path / "none.py"), "cpu").program == ""


def test_arguments_are_known_by_their_borders():
    one, two = [preflight.describe(options("x.py", *words), "cpu").arguments
                for words in (["a b"], ["a", "b"])]
    assert one != two


@pytest.mark.parametrize("fields", [
    dict(num_workers=4), dict(gpu_per_worker=2), dict(machine_list="a:1,c:1")])
def test_flags_that_shape_the_job_are_compared(fields):
    one, other = [preflight.describe(Options(2, 1, None, "", "x.py", [], machine_list="a:1,b:1")
                                   ._replace(**changed), "cpu") for changed in ({}, fields)]
    assert len(preflight.differences(["a", "b"], [one, other])) == 1


def test_a_module_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "somepackage"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "train.py").write_text("1")
    monkeypatch.chdir(tmp_path)
    one = preflight.describe(options("somepackage.train", module=True), "cpu").program
    (package / "train.py").write_text("2")
    assert "" != one != preflight.describe(options("somepackage.train", module=True), "cpu").program


def test_versions_are_those_that_an_import_would_bring():
    pytest.importorskip("horovod")
    found = preflight.describe(options("x.py"), "cpu")
    code = "import tensorflow, horovod, epl; " \
           "print(tensorflow.__version__, horovod.__version__, epl.__version__)"
    imported = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True,
                              stderr=subprocess.DEVNULL).stdout.decode().split()
    assert [found.tensorflow, found.horovod, found.epl] == imported
    assert found.python == platform.python_version()


@pytest.mark.parametrize("entries, expected", [
    (["tensorflow-1.15.5.dist-info"], "1.15.5"),
    (["tensorflow_cpu-2.15.1.dist-info", "tensorflow_estimator-2.15.0.dist-info"], "2.15.1"),
    (["tensorflow-1.14.0-py3.7.egg-info"], "1.14.0"),
    (["tensorflow_estimator-2.15.0.dist-info", "tensorflow"], "none"),
    ([], "none"),
])
def test_installed_version(tmp_path, entries, expected):
    for entry in entries:
        (tmp_path / entry).mkdir()
    assert preflight.installed_version(("tensorflow", "tensorflow_cpu"),
                                     [str(tmp_path / "nowhere"), str(tmp_path)]) == expected


@pytest.mark.parametrize("found, expected", [
    (["127.0.1.1"], "stands for 127.0.1.1, where Horovod would listen in vain"),
    (["192.0.2.77"], "stands for none of its addresses"),
    (OSError(-2, "Name or service not known"), "is not known there (Name or service not known)"),
    (["192.0.2.77", "0.0.0.0"], ""),
])
def test_the_machines_own_name(monkeypatch, found, expected):
    def resolve(name, port, family, kind):
        if isinstance(found, OSError):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    trouble = preflight.trouble_with_own_name()
    assert expected in trouble
    assert bool(trouble) == bool(expected)
