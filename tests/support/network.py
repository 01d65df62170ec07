# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Two hosts for tests: network namespaces of this machine, joined by a cable, an sshd in each.

    namespace a                         namespace b
    198.18.77.1 --- veth epl0 --- epl0 --- 198.18.77.2
    sshd                                sshd

They share processes and files, but no network: 198.18.0.0/15 is set apart for tests of networks,
and nothing leaves the two. Each has an /etc/hosts of its own, in which this machine's name stands
for its address. `close` ends what runs in them and removes them. The cable may be a slow one.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple, Optional

from tests.support import jobs

ADDRESSES = ("198.18.77.1", "198.18.77.2")
INTERFACE = "epl0"
_SSH_PORT = 22022
_PRIVILEGE_DIRECTORY = "/run/sshd"
_NAMESPACE_FILES = "/etc/netns"  # `ip netns exec` shows what is there in /etc

_numbers = itertools.count()

_SSHD_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
"""

_SSH_CONFIG = """\
Host *
    Port {port}
    IdentityFile {directory}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    StrictHostKeyChecking no
    LogLevel ERROR
"""


def why_not():
    """Why this machine cannot have such hosts; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            return "{} is not installed".format(program)
    if _sshd() is None:
        return "sshd (openssh-server) is not installed"
    name = "epl-probe-{}".format(os.getpid())
    probe = subprocess.run(["ip", "netns", "add", name], stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE)
    if probe.returncode != 0:
        return "no network namespaces: " + probe.stderr.decode().strip()
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def why_not_slow():
    """Why this machine cannot have `Slow` cables; None if it can."""
    return None if os.access("/dev/net/tun", os.W_OK) else "there is no /dev/net/tun"


class Slow(NamedTuple):
    """A cable that delays, loses and holds up.

    Attributes:
      delay: seconds one way.
      loss: the part of the packets that do not arrive.
      rate: bytes a second one way; None: as many as come.
      mtu: the largest packet; each takes time of the machine, not only of the line.
    """

    delay: float
    loss: float = 0.0
    rate: Optional[float] = None
    mtu: int = 1500


class Network:
    """Two hosts, numbered 0 and 1, until `close`.

    Args:
      names: what this machine's name stands for, on each.
      cable: `Slow`; None: one that is as fast as the machine.

    Attributes:
      ssh_args: with these arguments ssh reaches one from the other.
    """

    def __init__(self, names=ADDRESSES, cable=None):
        self._directory = tempfile.mkdtemp(prefix="epl-network-")
        number = next(_numbers)
        self._names = ["epl-{}-{}-{}".format(side, os.getpid(), number) for side in "ab"]
        self._daemons = []
        self._cable = None
        self._made_directories = []
        self.ssh_args = "-F {}/ssh_config".format(self._directory)
        try:
            self._make_etc_hosts(names)
            self._make_namespaces()
            self._lay(cable)
            self._make_keys()
            self._start_sshd()
        except BaseException:
            self.close()
            raise

    def command(self, host, words):
        """`words` as a command that runs on `host`."""
        return ["ip", "netns", "exec", self._names[host]] + list(words)

    def set_link(self, host, state):
        """Plug the cable of `host` in ("up") or out ("down")."""
        subprocess.run(self.command(host, ["ip", "link", "set", INTERFACE, state]), check=True)

    def join(self):
        """Plug both ends in, and let the hosts forget that they were out of reach."""
        for host in (0, 1):
            self.set_link(host, "up")
        for host in (0, 1):
            self._wait_for_carrier(host)
            subprocess.run(self.command(host, ["ip", "neigh", "flush", "dev", INTERFACE]),
                           check=True)

    def _wait_for_carrier(self, host):
        state = "/sys/class/net/{}/operstate".format(INTERFACE)
        deadline = time.monotonic() + 10
        while subprocess.run(self.command(host, ["cat", state]), check=True,
                             stdout=subprocess.PIPE).stdout.strip() != b"up":
            assert time.monotonic() < deadline, "no carrier on host {}".format(host)
            time.sleep(0.05)

    def sent(self, host):
        """Bytes that `host` has sent through the cable."""
        counter = "/sys/class/net/{}/statistics/tx_bytes".format(INTERFACE)
        return int(subprocess.run(self.command(host, ["cat", counter]), check=True,
                                  stdout=subprocess.PIPE).stdout)

    def signal(self, host, signum):
        """To every process of `host`, those of its ssh server too."""
        for pid in self._pids(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _pids(self, host):
        return [int(pid) for pid in subprocess.run(
            ["ip", "netns", "pids", self._names[host]], check=True,
            stdout=subprocess.PIPE).stdout.split()]

    def processes(self, host):
        """What runs on `host`, the ssh server left out: process id -> command line."""
        found = {}
        for pid in self._pids(host):
            try:
                with open("/proc/{}/cmdline".format(pid), "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            except OSError:
                continue
            if line and "sshd" not in line.split()[0]:
                found[pid] = line
        return found

    def environments(self):
        """The variables of every process on both hosts."""
        found = []
        for pid in list(self.processes(0)) + list(self.processes(1)):
            try:
                with open("/proc/{}/environ".format(pid), "rb") as file:
                    entries = file.read().decode("utf-8", "replace").split("\0")
            except OSError:
                continue
            found.append(dict(entry.partition("=")[::2] for entry in entries if entry))
        return found

    def wait_until_quiet(self, seconds):
        """Wait until nothing but the ssh servers runs; returns what does after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            running = {**self.processes(0), **self.processes(1)}
            if not running or time.monotonic() > deadline:
                return running
            time.sleep(0.1)

    def close(self):
        """Remove everything."""
        for name in self._names:
            for pid in subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL).stdout.split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for daemon in self._daemons:
            daemon.wait()
        if self._cable is not None:
            self._cable.stdin.close()
            self._cable.wait()
            self._cable.stdout.close()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        shutil.rmtree(self._directory)
        self._remove_directories()

    def _remove_directories(self):
        """Those of our own; the shared ones only if no other such network may use them."""
        for name in self._names:
            shutil.rmtree(os.path.join(_NAMESPACE_FILES, name), ignore_errors=True)
        listed = subprocess.run(["ip", "netns", "list"], stdout=subprocess.PIPE).stdout
        if not any(line.startswith(b"epl-") for line in listed.splitlines()):
            for directory in self._made_directories:
                with contextlib.suppress(OSError):  # somebody else uses it
                    os.rmdir(directory)

    def _make_etc_hosts(self, names):
        self._make_directory(_NAMESPACE_FILES)
        for name, address in zip(self._names, names):
            directory = os.path.join(_NAMESPACE_FILES, name)
            os.mkdir(directory, 0o755)
            with open(os.path.join(directory, "hosts"), "w") as file:
                file.write("127.0.0.1 localhost\n{} {}\n".format(address, socket.gethostname()))

    def _make_directory(self, path):
        if not os.path.isdir(path):
            os.mkdir(path, 0o755)
            self._made_directories.append(path)

    def _make_namespaces(self):
        for name in self._names:
            _run("ip", "netns", "add", name)

    def _lay(self, cable):
        a, b = self._names
        if cable is None:
            _run("ip", "link", "add", INTERFACE, "netns", a, "type", "veth", "peer", "name",
                 INTERFACE, "netns", b)
        else:
            self._cable = subprocess.Popen(
                [sys.executable, "-m", "tests.support.slow_cable", a, b, "--interface", INTERFACE,
                 "--delay", str(cable.delay), "--loss", str(cable.loss)] + (
                     ["--rate", str(cable.rate)] if cable.rate else []), cwd=jobs.ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._cable.stdout.readline() == b"ready\n"
        for host, address in enumerate(ADDRESSES):
            _run(*self.command(host, ["ip", "addr", "add", address + "/24", "dev", INTERFACE]))
            if cable is not None:
                _run(*self.command(host, ["ip", "link", "set", INTERFACE, "mtu", str(cable.mtu)]))
            for interface in ("lo", INTERFACE):
                _run(*self.command(host, ["ip", "link", "set", interface, "up"]))

    def _make_keys(self):
        for name in ("host_key", "user_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                 os.path.join(self._directory, name))
        self._write("ssh_config", _SSH_CONFIG.format(port=_SSH_PORT, directory=self._directory))

    def _start_sshd(self):
        self._make_directory(_PRIVILEGE_DIRECTORY)
        for host, address in enumerate(ADDRESSES):
            config = self._write("sshd_config_{}".format(host), _SSHD_CONFIG.format(
                port=_SSH_PORT, address=address, directory=self._directory))
            self._daemons.append(subprocess.Popen(
                self.command(host, [_sshd(), "-D", "-e", "-f", config]),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        for daemon in self._daemons:
            for line in daemon.stderr:  # ends if sshd cannot start
                if b"listening" in line:
                    break
            assert daemon.poll() is None

    def _write(self, name, text):
        path = os.path.join(self._directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path


def _sshd():
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, (command, done.stdout.decode())
