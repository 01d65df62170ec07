# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What will be started: command, environment and directory of every worker, as pure data."""

import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from epl.errors import ConfigError
from epl.launcher import rendezvous
from epl.launcher.devices import DevicePlan


class Options(NamedTuple):
    """The command line, checked.

    Attributes:
      num_workers: processes to start.
      gpu_per_worker: devices of each.
      log_dir: directory for logs and outputs; None: a new one under `experiments/`.
      task_label: a name for the run; "" for none.
      script: path of the `.sh` or `.py` to run.
      script_args: its arguments, untouched.
    """

    num_workers: int
    gpu_per_worker: int
    log_dir: Optional[str]
    task_label: str
    script: str
    script_args: Sequence[str]


class WorkerPlan(NamedTuple):
    """One worker to start.

    Attributes:
      worker: its index, 0-based.
      command: program and arguments.
      environment: all variables of the process.
      directory: absolute path for its logs and outputs.
    """

    worker: int
    command: List[str]
    environment: Dict[str, str]
    directory: str


def check_script(path: str) -> None:
    """Raises ConfigError unless `path` is a script that the launcher can run."""
    if not os.path.exists(path):
        raise ConfigError("script '{}' does not exist (looked in {})".format(path, os.getcwd()))
    if not os.path.isfile(path):
        raise ConfigError("script '{}' is not a file".format(path))
    if not os.access(path, os.R_OK):
        raise ConfigError("script '{}' cannot be read; check its permissions".format(path))
    if os.path.splitext(path)[1] not in (".sh", ".py"):
        raise ConfigError("script '{}' must end in .sh (run with bash) or .py (run with Python)"
                          .format(path))


def plan_workers(options: Options, log_dir: str, devices: DevicePlan, address: Tuple[str, int],
                 environ: Mapping[str, str], interpreter: str) -> List[WorkerPlan]:
    """Everything about the workers that is decided before they start.

    Args:
      options: the command line.
      log_dir: absolute path; worker i gets `<log_dir>/<i>`.
      devices: what each worker computes on.
      address: host and port of the rendezvous; unused with one worker.
      environ: the environment that the workers inherit.
      interpreter: the Python that runs `.py` scripts and is first in the workers' PATH.

    Returns:
      One plan per worker, in the order of their indices.
    """
    hosts = [rendezvous.LOOPBACK] * options.num_workers
    plans = []
    for index in range(options.num_workers):
        directory = os.path.join(log_dir, str(index))
        environment = _inherited(environ, interpreter)
        environment.update({
            "EPL_NUM_WORKERS": str(options.num_workers),
            "EPL_WORKER_INDEX": str(index),
            "EPL_GPU_PER_WORKER": str(options.gpu_per_worker),
            "EPL_WORKER_HOSTS": ",".join(hosts),
            "EPL_OUTPUT_DIR": directory,
            "EPL_DEVICE_TYPE": devices.device_type,
            "CUDA_VISIBLE_DEVICES": devices.visible[index],
            "PYTHONUNBUFFERED": "1",
        })
        if options.num_workers > 1:
            environment.update(rendezvous.worker_environment(index, hosts, *address))
        plans.append(WorkerPlan(index, _command(options, directory, interpreter), environment,
                                directory))
    return plans


def _inherited(environ: Mapping[str, str], interpreter: str) -> Dict[str, str]:
    """The launcher's environment without an outer job's rendezvous, our interpreter first."""
    environment = {k: v for k, v in environ.items() if k not in rendezvous.VARIABLES}
    environment["PATH"] = os.pathsep.join(
        [os.path.dirname(interpreter)] + [p for p in [environ.get("PATH")] if p])
    return environment


def _command(options: Options, directory: str, interpreter: str) -> List[str]:
    # Absolute: bash would also search PATH for a name without a slash, and take a leading dash
    # for an option.
    script = os.path.abspath(options.script)
    if script.endswith(".py"):
        return [interpreter, script] + list(options.script_args)
    return ["bash", script, directory] + list(options.script_args)
