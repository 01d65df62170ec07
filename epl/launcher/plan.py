# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What will be started: command, environment and directories of every worker, as pure data."""

import itertools
import json
import os
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from epl.communicators.horovod import rendezvous
from epl.communicators.horovod.rendezvous import Meeting
from epl.communicators.horovod.variables import ALL as HOROVOD_VARIABLES
from epl.communicators.horovod.variables import INTERFACE
from epl.errors import ConfigError
from epl.launcher import cores
from epl.launcher.devices import DevicePlan
from epl.launcher.options import Options
from epl.launcher.program import command
from epl.shared.check import PLAN_VARIABLE, STEPS_VARIABLE

LOCAL = "localhost"  # the name of the machine that the launcher runs on

# The user's own word on threads: where one of these is set, nothing is added.
_THREAD_SETTINGS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_PROGRESS_FILE, _STACKS_FILE = "EPL_PROGRESS_FILE", "EPL_STACKS_FILE"


class WorkerPlan(NamedTuple):
    """One worker to start; only plain values, so that it can be sent to another machine.

    Attributes:
      worker: its index, 0-based.
      host: name of the machine it runs on; `LOCAL` for this one.
      local_index: which of that machine's workers it is.
      local_size: how many workers that machine has.
      command: program and arguments.
      environment: the variables set on top of those of the machine (`process_environment`).
      interpreter: the Python whose directory is first in PATH.
      working_directory: where the program starts.
      directory: absolute path for its outputs, on its machine.
      log_directory: absolute path for its logs (on the launcher's machine) and for the files by
        which the launcher watches it (on its own machine).
      bind: it has its own cores.
      terminal: it has the launcher's terminal instead of pipes.
    """

    worker: int
    host: str
    local_index: int
    local_size: int
    command: List[str]
    environment: Dict[str, str]
    interpreter: str
    working_directory: str
    directory: str
    log_directory: str
    bind: bool = False
    terminal: bool = False

    @property
    def progress_file(self) -> str:
        return self.environment[_PROGRESS_FILE]

    @property
    def stacks_file(self) -> str:
        return self.environment[_STACKS_FILE]


def plan_to_json(plan: WorkerPlan) -> str:
    """`plan` in one line of text."""
    return json.dumps(plan._asdict())


def plan_from_json(text: str) -> WorkerPlan:
    """The inverse of `plan_to_json`."""
    fields: Dict[str, Any] = json.loads(text)
    return WorkerPlan(**fields)


def plan_workers(options: Options, log_dir: str, placement: Sequence[str], devices: DevicePlan,
                 meeting: Meeting, interpreter: str, attempt: int = 0) -> List[WorkerPlan]:
    """Everything about the workers that is decided before they start.

    Args:
      options: the command line.
      log_dir: absolute path; worker i's outputs go to `<log_dir>/<i>`, and so do its logs, unless
        the job may be restarted: then every attempt has its own, `<log_dir>/attempt_<n>/<i>`.
      placement: the host of every worker.
      devices: what each worker computes on.
      meeting: where they find each other; unused with one worker.
      interpreter: the Python that runs `.py` scripts and is first in the workers' PATH.
      attempt: how often the job was restarted.

    Returns:
      One plan per worker, in the order of their indices.

    Raises:
      ConfigError: `--env` names a variable that the launcher sets.
    """
    log_root = log_dir
    if options.max_restarts:
        log_root = os.path.join(log_dir, "attempt_{}".format(attempt))
    if options.debug and placement[0] != LOCAL:
        raise ConfigError("--debug: worker 0 would run on {}; a debugger needs it on this machine, "
                          "the first of the hosts".format(placement[0]))
    reached_at = addresses(placement, meeting.host)
    plans = []
    for index, (host, local_index, local_size) in enumerate(_local_positions(placement)):
        directory = os.path.join(log_dir, str(index))
        log_directory = os.path.join(log_root, str(index))
        ours = {
            "EPL_NUM_WORKERS": str(options.num_workers),
            "EPL_WORKER_INDEX": str(index),
            "EPL_GPU_PER_WORKER": str(max(1, options.gpu_per_worker)),
            "EPL_WORKER_HOSTS": ",".join(reached_at),
            "EPL_OUTPUT_DIR": directory,
            "EPL_DEVICE_TYPE": devices.device_type,
            "EPL_RESTART_COUNT": str(attempt),
            _PROGRESS_FILE: os.path.join(log_directory, "progress.json"),
            _STACKS_FILE: os.path.join(log_directory, "stacks.txt"),
            "CUDA_VISIBLE_DEVICES": devices.visible[index],
        }
        if options.plan:
            ours[PLAN_VARIABLE] = options.plan
        if options.check:
            ours[STEPS_VARIABLE] = str(options.check)
        ours.update(_meeting(index, host, reached_at, meeting))
        plans.append(WorkerPlan(index, host, local_index, local_size,
                                command(options, directory, interpreter),
                                _with_users(ours, options), interpreter, os.getcwd(), directory,
                                log_directory, options.bind, options.debug and index == 0))
    return plans


def _meeting(index: int, host: str, reached_at: Sequence[str], meeting: Meeting
             ) -> Dict[str, str]:
    """The variables with which a worker finds the others."""
    if len(reached_at) == 1:
        return {}
    variables = rendezvous.worker_environment(index, reached_at, meeting)
    if host != LOCAL:  # only there can be known which interface leads here
        variables.pop(INTERFACE, None)
    return variables


def addresses(placement: Sequence[str], address: str) -> List[str]:
    """Where every worker is reached by the others.

    Args:
      placement: the host of every worker.
      address: that of this machine, as seen by all workers.
    """
    return [address if host == LOCAL else host for host in placement]


def process_environment(plan: WorkerPlan, inherited: Mapping[str, str],
                        available: Collection[int]) -> Dict[str, str]:
    """All variables of a worker's process.

    Args:
      plan: the worker.
      inherited: the environment of the machine: the launcher's own, or the agent's.
      available: the cores of the machine.
    """
    # A job of one worker must not meet the workers of a job around it.
    result = {k: v for k, v in inherited.items() if k not in HOROVOD_VARIABLES}
    result.update(plan.environment)
    result["PATH"] = os.pathsep.join(
        [os.path.dirname(plan.interpreter)] + [p for p in [result.get("PATH")] if p])
    if plan.bind and not any(name in result for name in _THREAD_SETTINGS):
        count = len(cores.share(available, plan.local_index, plan.local_size))
        result["TF_NUM_INTRAOP_THREADS"] = str(count)
        # Never fewer than two: an operation that blocks must not hold up the one it waits for.
        result["TF_NUM_INTEROP_THREADS"] = str(max(2, count))
    meeting = rendezvous.meeting_of(result)
    if meeting is not None and INTERFACE not in plan.environment:
        interface = rendezvous.interface_towards(meeting.host)
        if interface:
            result[INTERFACE] = interface
    return result


def _local_positions(placement: Sequence[str]) -> List[Tuple[str, int, int]]:
    """For every worker its host, its index there, and the number of workers there."""
    result: List[Tuple[str, int, int]] = []
    for host, block in itertools.groupby(placement):
        size = len(list(block))
        result.extend((host, index, size) for index in range(size))
    return result


def _with_users(ours: Dict[str, str], options: Options) -> Dict[str, str]:
    for name in options.environment:
        if name in ours and name != INTERFACE:
            raise ConfigError("--env {}: the launcher sets this variable itself; leave it out"
                              .format(name))
    result = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    result.update(ours)
    result.update(options.environment)
    return result
