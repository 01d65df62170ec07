# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Jobs on the two hosts of `network`, of one worker on each or of more."""

import re
import subprocess
import sys
import time

from tests.support import network as networks
from tests.support.jobs import environment_for

WAYS = ("ssh", "machine_list")
_FORWARDED = ("PYTHONPATH", "PYTHONWARNINGS", "TF_CPP_MIN_LOG_LEVEL")
_MACHINE_LIST = ",".join(address + ":5600" for address in networks.ADDRESSES)


class Job:
    """A job on both hosts: one launcher with "ssh", one on each with "machine_list".

    With "ssh" the hosts may have several `workers` each.
    """

    def __init__(self, network, way, directory, script, *arguments, options=(), scripts=None,
                 ranks=(0, 1), environment=None, workers=(1, 1)):
        self._outputs = []
        self.processes = []
        self.directory = str(directory)
        common = [word for name in _FORWARDED for word in ("--env", name)]
        common += ["--log_dir", self.directory]
        common += list(options)
        if way == "ssh":
            hosts = ",".join(
                "{}:{}".format(*each) for each in zip(networks.ADDRESSES, workers))
            known = "EPL_COMMUNICATION_COMMUNICATOR"  # which ssh does not hand on
            common += ["--env", known] if known in environment_for(environment) else []
            self._start(network, 0, ["--hosts", hosts, "--ssh_args", network.ssh_args] + common
                        + [str(script), *arguments], environment)
            return
        for host, rank in enumerate(ranks):
            self._start(network, host, common + [
                "--machine_list", _MACHINE_LIST, "--machine_rank", str(rank),
                str(scripts[host] if scripts else script), *arguments], environment)

    def _start(self, network, host, arguments, environment):
        output = open("{}-{}.txt".format(self.directory, host), "wb+")
        self._outputs.append(output)
        self.processes.append(subprocess.Popen(
            network.command(host, [sys.executable, "-m", "epl.launcher", *arguments]),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=environment_for(environment)))

    @property
    def outputs(self):
        """What each launcher has printed."""
        texts = []
        for output in self._outputs:
            with open(output.name, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return texts

    def wait_for(self, pattern, seconds=90.0):
        """Wait until the first launcher has printed `pattern`."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.outputs[0]):
            assert time.monotonic() < deadline, self.outputs
            assert self.processes[0].poll() is None, self.outputs
            time.sleep(0.1)

    def wait(self, seconds=120.0):
        """The exit codes of the launchers."""
        deadline = time.monotonic() + seconds
        return [process.wait(max(1.0, deadline - time.monotonic())) for process in self.processes]

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for output in self._outputs:
            output.close()
