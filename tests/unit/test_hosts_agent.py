# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A real agent process at the end of a pipe, and `RemoteHost` as the supervisor uses it."""

import contextlib
import os
import re
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

from epl.communicators.horovod.rendezvous import NOWHERE, Meeting
from epl.launcher import events, preflight, ssh
from epl.launcher.channel import Channel
from epl.launcher.devices import DevicePlan
from epl.launcher.host import Output, Started
from epl.launcher.options import Options
from epl.launcher.plan import plan_to_json, plan_workers
from epl.launcher.remote import RemoteHost
from tests.support.jobs import environment_for

HOST = "far"


class Far:
    """An agent, and what came from it."""

    def __init__(self, silence=10.0):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "epl.launcher.agent"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_for({"HOME": "/far"}))
        self.channel = Channel(os.dup(self.process.stdout.fileno()),
                               os.dup(self.process.stdin.fileno()), silence)
        self.process.stdin.close()
        self.process.stdin = None  # the channel has its own
        self.events = []
        self.selector = selectors.DefaultSelector()
        self.host = RemoteHost(HOST, self.channel, lambda plans: {
            "plans": [plan_to_json(plan) for plan in plans]})

    def welcome(self, script, directory=None, **job):
        fields = dict({"num_workers": 1, "gpu_per_worker": 1, "script": str(script),
                       "script_args": [], "module": False}, **job)
        self.channel.send("welcome", name=HOST, directory=directory or os.getcwd(), workers=1,
                          hosts=1, silence=self.channel.silence, job=fields)
        return self.answer()

    def answer(self):
        deadline = time.monotonic() + 20
        while True:
            for message in self.channel.receive():
                return message
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def start(self, script, directory, **fields):
        options = Options(1, 1, None, "", str(script), [], **fields)
        plans = plan_workers(options, str(directory), [HOST], DevicePlan("cpu", [""]),
                             NOWHERE, sys.executable)
        self.host.start(plans, self.selector, self.events.append)

    def wait_for(self, kind):
        """The first event of `kind`."""
        def found():
            return [event for event in self.events if isinstance(event, kind)]

        self._wait_until(found)
        return found()[0]

    def wait_for_line(self):
        """Wait for a whole line of stdout, which may come in pieces."""
        self._wait_until(lambda: b"\n" in self.stdout())

    def stdout(self):
        return b"".join(event.data for event in self.events
                        if isinstance(event, Output) and event.stream == "stdout")

    def _wait_until(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.events
            for key, _ in self.selector.select(0.1):
                key.data()
            self.host.poll()

    def close(self):
        self.channel.close()
        self.process.kill()
        self.process.communicate()
        self.selector.close()


@pytest.fixture
def far():
    started = []

    def make(**fields):
        started.append(Far(**fields))
        return started[-1]

    yield make
    for agent in started:
        agent.close()


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text("import os, sys, time\n"
                    "print(os.environ['HOME'], os.environ.get('GIVEN'), flush=True)\n"
                    "if len(sys.argv) > 1: sys.exit(5)\n"
                    "time.sleep(600)\n")
    return path


def is_alive(pid):
    gone = FileNotFoundError, ProcessLookupError  # at open, and between open and read
    with contextlib.suppress(*gone), open("/proc/{}/stat".format(pid)) as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_until_dead(pid, seconds):
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_describes_its_machine(far, script):
    message = far().welcome(script)
    assert message.kind == "hello"
    member = preflight.Member(*message.fields["member"])
    assert member == preflight.describe(Options(1, 1, None, "", str(script), []), "cpu")


def test_it_looks_at_the_script_from_the_given_directory(far, script):
    """A path on the command line may be relative; ssh begins in the home directory."""
    message = far().welcome(script.name, str(script.parent))
    assert message.kind == "hello"
    member = preflight.Member(*message.fields["member"])
    assert member.program == preflight.digest_of_program(Options(1, 1, None, "", str(script), []))


@pytest.mark.parametrize("fields, reason", [
    ({"directory": "/no/such/place"}, "the working directory /no/such/place cannot be entered"),
    ({"script": "nowhere.py"}, "script 'nowhere.py' does not exist"),
])
def test_it_refuses_what_cannot_run_there(far, script, fields, reason):
    agent = far()
    message = agent.welcome(**dict({"script": script}, **fields))
    assert message.kind == "refused"
    assert reason in message.fields["reason"]
    assert agent.process.wait(10) == 2


def test_a_worker_has_the_environment_of_its_machine_and_what_is_given(far, script, tmp_path):
    agent = far()
    agent.welcome(script)
    agent.start(script, tmp_path / "logs", environment={"GIVEN": "this"})
    agent.wait_for_line()
    agent.host.signal(0, signal.SIGTERM)
    agent.wait_for(events.GroupGone)
    agent.host.close()
    assert agent.stdout() == b"/far this\n"
    assert os.listdir(str(tmp_path / "logs" / "0")) == []  # logs are written where the user is


def test_signals_and_exits_travel(far, script, tmp_path):
    agent = far()
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    agent.wait_for(Output)
    agent.host.signal(0, signal.SIGTERM)
    assert agent.wait_for(events.WorkerExited) == (0, -signal.SIGTERM)
    assert agent.wait_for(events.GroupGone) == (0,)
    agent.host.close()
    assert agent.process.wait(10) == 0


def test_close_ends_what_still_runs(far, script, tmp_path):
    agent = far()
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    pid = agent.wait_for(Started).pid
    agent.wait_for(Output)
    agent.host.close()
    wait_until_dead(pid, 2)  # SIGKILL was sent, and takes a moment
    assert agent.process.wait(10) == 0
    assert not agent.selector.get_map()


def test_a_worker_ends_when_the_launcher_is_gone(far, script, tmp_path):
    agent = far()
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    pid = agent.wait_for(Started).pid
    agent.selector.unregister(agent.channel)
    agent.channel.close()
    wait_until_dead(pid, 5)
    assert agent.process.wait(5) == 1
    assert b"the launcher was lost: the connection was closed" in agent.process.stderr.read()


def test_a_worker_ends_when_the_launcher_is_silent(far, script, tmp_path):
    agent = far(silence=1.5)
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    pid = agent.wait_for(Started).pid
    begin = time.monotonic()
    wait_until_dead(pid, 10)  # nobody polls, so no heartbeats are sent
    assert time.monotonic() - begin > 1.0
    assert agent.process.wait(5) == 1


def test_a_silent_agent_is_a_lost_host(far, script, tmp_path):
    agent = far(silence=1.5)
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    agent.wait_for(Started)
    agent.process.send_signal(signal.SIGSTOP)
    lost = agent.wait_for(events.HostLost)
    assert lost.host == HOST
    assert "nothing was heard from it for 2 s" in lost.reason
    agent.host.signal(0, signal.SIGTERM)  # nobody is there: nothing happens
    agent.host.close()
    assert agent.events.count(lost) == 1


def test_a_killed_agent_is_a_lost_host_and_its_workers_end(far, script, tmp_path):
    agent = far()
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    pid = agent.wait_for(Started).pid
    agent.process.kill()
    assert agent.wait_for(events.HostLost).reason == "the connection was closed"
    wait_until_dead(pid, 5)


def test_a_worker_that_cannot_be_started_is_a_lost_host(far, script, tmp_path):
    (tmp_path / "logs").write_text("a file")
    agent = far()
    agent.welcome(script)
    agent.start(script, tmp_path / "logs")
    assert "cannot be made" in agent.wait_for(events.HostLost).reason


def test_a_rendezvous_that_cannot_be_reached_is_named(far, script, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = Options(2, 1, None, "", str(script), [])
    plans = plan_workers(options, str(tmp_path), [HOST, "other"], DevicePlan("cpu", ["", ""]),
                         Meeting("127.0.0.1", port, "secret"), sys.executable)
    agent = far()
    agent.welcome(script)
    agent.host.start(plans[:1], agent.selector, agent.events.append)
    assert "rendezvous at 127.0.0.1:{} cannot be reached".format(port) in agent.wait_for(
        events.HostLost).reason


def command(**fields):
    return ssh.ssh_command("h1", Options(2, 1, None, "", "train.py", ["--secret"], **fields))


def test_the_command_of_ssh():
    words = command(ssh_args="-F 'my config' -o BatchMode=no", ssh_port=2222,
                    remote_python="/opt/my python")
    assert words[:6] == ["ssh", "-F", "my config", "-o", "BatchMode=no", "-p"]
    assert words[-2] == "h1"
    assert shlex.split(words[-1]) == ["exec", "/opt/my python", "-m", "epl.launcher.agent"]


def test_ssh_asks_nothing_and_waits_for_no_host_for_ever():
    words = command()
    options = [value for flag, value in zip(words, words[1:]) if flag == "-o"]
    assert "BatchMode=yes" in options
    assert any(re.match(r"ConnectTimeout=\d+$", option) for option in options)


def test_no_variable_but_pythonpath_is_on_the_command_line_of_ssh():
    words = command(environment={"TOKEN": "swordfish", "PYTHONPATH": "/a b"})
    assert shlex.split(words[-1])[:3] == ["exec", "env", "PYTHONPATH=/a b"]
    assert "swordfish" not in " ".join(words) and "--secret" not in " ".join(words)
