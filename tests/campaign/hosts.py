# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a job of two machines when the line between them, or one of them, fails.

    python -m tests.campaign.hosts [--scenes NAME,...] [--ways ssh,machine_list]

The machines are network namespaces of this one (see `tests.support.network`; root, an ssh server
and, for slow lines, /dev/net/tun are needed). Every scene is played for both ways to start a job:
the training of the campaign gets to its sixth step, then it happens. Looked at are the exit codes
of the launchers, what their last words say, the seconds until they have ended, what is left on
either machine, whether the last checkpoint can be read, and whether the job, started again from
there on one machine, ends with the bits of an undisturbed one.
"""

import argparse
import contextlib
import glob
import os
import re
import signal
import sys
import tempfile
import time
from typing import Callable, Dict, List, NamedTuple, Optional

from epl.shared import progress
from tests.campaign import __main__ as campaign
from tests.campaign.deaths import VARIABLE
from tests.support import network as networks
from tests.support.host_jobs import WAYS, Job
from tests.support.network import Network, Slow

STEPS, STRIKE_STEP = 20, 6
BEGIN_S, END_S, QUIET_S = 240.0, 240.0, 40.0
LINE = Slow(delay=0.1, loss=0.05)
NEAR, FAR = networks.ADDRESSES
_LOST = "host {} lost: (nothing was heard from it for|the connection)"


class Scene(NamedTuple):
    """Something that happens to a job.

    Attributes:
      words: what, for the table.
      strike: done when training runs; None: the far worker dies by itself, or nobody does.
      code: of every launcher that can still tell.
      says: begins the near launcher's last words, a regular expression; "": the job succeeds.
      far_says: likewise for machine 1 of `--machine_list`, if it is another one.
      relief: done when the launchers of machines that can act have ended, or after `relief_s`; by
        then nothing of the job may be left on these machines, if it is to end.
      relief_s: None: after these ends.
      acts: the machines that can act after the strike.
      cable: a slow line; None: a fast one.
      death: of the far worker, see `deaths`.
      rest: seconds between two steps.
      at_start: it happens when the workers have just begun, before `epl.init`.
    """

    words: str
    strike: Optional[Callable[[Network], None]] = None
    code: int = 1
    says: str = ""
    far_says: str = ""
    relief: Optional[Callable[[Network], None]] = None
    relief_s: Optional[float] = None
    acts: tuple = (0, 1)
    cable: Optional[Slow] = None
    death: str = ""
    rest: float = 0.5
    at_start: bool = False


def link(host: int, state: str) -> Callable[[Network], None]:
    return lambda network: network.set_link(host, state)


def send(host: int, signum: int) -> Callable[[Network], None]:
    return lambda network: network.signal(host, signum)


def cut(words: str, host: int, **more) -> Scene:
    return Scene(words, link(host, "down"), says=_LOST.format(FAR), far_says=_LOST.format(NEAR),
                 **more)


SCENES: Dict[str, Scene] = {
    "cut": cut("line cut at the far machine", 1),
    "cut near": cut("line cut at the launcher's machine", 0),
    "cut at start": cut("line cut while the workers start", 1, at_start=True),
    "short cut": Scene("line cut for 3 s", link(1, "down"), 0, relief=link(1, "up"), relief_s=3.0),
    "far stopped": Scene("far machine stopped (SIGSTOP of all its processes), later goes on",
                         send(1, signal.SIGSTOP), says=_LOST.format(FAR),
                         far_says=_LOST.format(NEAR), relief=send(1, signal.SIGCONT), acts=(0,)),
    "near stopped": Scene("launcher's machine stopped, goes on after 30 s",
                          send(0, signal.SIGSTOP), far_says=_LOST.format(NEAR),
                          says=_LOST.format(FAR) + ".* this process itself had stood still",
                          relief=send(0, signal.SIGCONT), relief_s=30.0, acts=(1,)),
    "slow": Scene("slow line: nothing else", code=0, cable=LINE, rest=0.0),
    "slow exception": Scene("slow line: the far worker raises", code=1, cable=LINE, rest=0.0,
                            says="worker 1 (exited with code 1|failed: ValueError: no data)",
                            death="exception:1:0.4"),
    "slow SIGKILL": Scene("slow line: the far worker is killed", code=137, cable=LINE, rest=0.0,
                          says=r"worker 1 died by signal SIGKILL", death="SIGKILL:1:0.9"),
    "slow cut": cut("slow line, then cut", 1, cable=LINE, rest=0.0),
}


class Found(NamedTuple):
    """What became of one scene, played one way."""

    scene: Scene
    way: str
    codes: List[int]
    words: List[str]
    seconds: List[float]
    quiet: float
    left: int
    checkpoint: bool
    same: bool

    @property
    def told(self) -> bool:
        """The exit codes and the last words are right."""
        expected = [self.scene.says, self.scene.far_says or self.scene.says]
        return all(code == self.scene.code for code in self.codes) and all(
            not says or re.match(says, words) for says, words in zip(expected, self.words))

    @property
    def good(self) -> bool:
        return self.told and not self.left and self.checkpoint and self.same


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/campaign.sh [tf1|tf2] --hosts")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    reason = networks.why_not()
    if reason is not None:
        raise SystemExit(reason)
    expected, found = campaign.undisturbed("dp", STEPS), []  # type: str, List[Found]
    for name in options.scenes.split(","):
        for way in options.ways.split(","):
            found.append(play(SCENES[name], way, expected))
            print("{}, {}: {}".format(name, way, found[-1]._replace(scene=None)), flush=True)
    print(table(found))
    return int(not all(one.good for one in found))


def play(scene: Scene, way: str, expected: str) -> Found:
    """One job on two machines, what happens to it, and the same job again."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        network = Network(cable=scene.cable)
        stack.callback(network.close)
        variables = {VARIABLE: scene.death, "EPL_CAMPAIGN_DIRECTORY": directory}
        job = Job(network, way, os.path.join(directory, "first"), campaign.TRAINING, "dp",
                  str(STEPS), str(scene.rest), environment=variables,
                  options=[word for name in variables for word in ("--env", name)])
        stack.callback(job.close)
        begin = wait_for_training(scene, network, job, directory)
        if scene.strike:
            scene.strike(network)
            begin = time.monotonic()
        seconds, early = wait_for_ends(scene, network, job, begin)
        left = early + len(network.wait_until_quiet(QUIET_S))
        quiet = time.monotonic() - begin
        checkpoint = campaign.restorable(os.path.join(directory, "model"))
        if scene.code:
            code, _, _ = campaign.run("dp", directory, "again", "", STEPS)
            assert code == 0
        died = campaign.read(directory, "died")
        if died:
            seconds = [begin + one - float(died) for one in seconds]
        return Found(scene, way, [process.returncode for process in job.processes],
                     [last_words(output) for output in job.outputs], seconds, quiet, left,
                     checkpoint, campaign.read(directory, "end") == expected)


def wait_for_training(scene: Scene, network: Network, job: Job, directory: str) -> float:
    """Until it is time for the strike, or, without one, at once; when that was."""
    deadline = time.monotonic() + BEGIN_S
    while scene.strike:
        assert time.monotonic() < deadline and job.processes[0].poll() is None, job.outputs
        reached = [progress.read(path) for path in glob.glob(
            os.path.join(directory, "first", "**", "1", "progress.json"), recursive=True)]
        if any(status and status.step >= STRIKE_STEP for status in reached):
            break
        if scene.at_start and any(variables.get("EPL_WORKER_INDEX") == "1"
                                  for variables in network.environments()):
            break
        time.sleep(0.05)
    return time.monotonic()


def wait_for_ends(scene: Scene, network: Network, job: Job, begin: float):
    """Until all launchers have ended; the seconds that each took, and what was left too long."""
    seconds, relieved = {}, scene.relief is None  # type: Dict[int, float], bool
    left = 0
    acts = [host for host in scene.acts if host < len(job.processes)]
    while len(seconds) < len(job.processes):
        now = time.monotonic() - begin
        assert now < END_S, job.outputs
        for host, process in enumerate(job.processes):
            if host not in seconds and process.poll() is not None:
                seconds[host] = now
        if not relieved and scene.relief is not None:
            relieved = (all(host in seconds for host in acts) if scene.relief_s is None
                        else now > scene.relief_s)
            if relieved:
                left = leftovers(scene, network)
                scene.relief(network)
        time.sleep(0.02)
    return [seconds[host] for host in range(len(job.processes))], left


def leftovers(scene: Scene, network: Network) -> int:
    """Processes of a job that is over, on the machines that could end theirs."""
    if scene.code:
        time.sleep(campaign.LEFT_S)
    return sum(len(network.processes(host)) for host in scene.acts) if scene.code else 0


def last_words(output: str) -> str:
    """The headline of the box at the end; else the last line."""
    headline = re.search(r"^\+-- epl-launch: (.*)", output, re.M)
    return headline.group(1) if headline else output.strip().rpartition("\n")[2]


def table(found: List[Found]) -> str:
    """What was found, as a table of Markdown."""
    lines = ["| what happens | started by | exit codes | right verdict | seconds to the end | "
             "processes left | restorable | same bits |", "|" + " --- |" * 8]
    for one in found:
        lines.append("| {} | `{}` | {} | {} | {} | {} | {} | {} |".format(
            one.scene.words, "--hosts" if one.way == "ssh" else "--machine_list",
            ", ".join(map(str, one.codes)), "yes" if one.told else "NO: " + one.words[0],
            ", ".join("{:.1f}".format(some) for some in one.seconds) if one.scene.code
            else "(goes on)", one.left,
            "yes" if one.checkpoint else "NO", "yes" if one.same else "NO"))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
