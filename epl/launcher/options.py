# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the user asked for."""

from typing import FrozenSet, Mapping, NamedTuple, Optional, Sequence

GRACE_S = 30.0
HOST_TIMEOUT_S = 10.0
CHECK_STEPS = 3  # that many training steps are compared by --check
USAGE_CODE = 2  # exit code of a job that cannot be started


class Options(NamedTuple):
    """The command line, checked.

    Attributes:
      num_workers: processes to start, on all machines together.
      gpu_per_worker: devices of each; 0: none, train on the CPU.
      log_dir: directory for logs and outputs; None: a new one under `experiments/`.
      task_label: a name for the run; "" for none.
      script: path of the script, name of the program, or with `module` name of the module.
      script_args: its arguments, untouched.
      module: run `script` as `python -m` does.
      grace: seconds between SIGTERM and SIGKILL.
      timeout: seconds that the whole job may take; None: any.
      start_timeout: seconds until all workers must be ready to train; None: any. Also the time that
        machines started by hand wait for each other.
      stall_timeout: seconds without a step of any worker after which the job is ended; None: any.
      max_restarts: how often a failed job is started again.
      tee: workers whose output the terminal shows; None: all.
      bind: give every worker its own cores.
      debug: worker 0 has the terminal, for a debugger.
      environment: variables to set for the workers, from `--env` and `--env_file`.
      dry_run: print what would be started.
      plan: workers and devices of each, such as "4x8:gpu", to plan the script for; None: train.
      check: so many training steps are compared with plain TensorFlow's; None: train.
      hosts: the text of `--hosts`; "" if not given. So the next two.
      hostfile: path of a file with hosts.
      machine_list: `ip:port` of every machine.
      machine_rank: which of them this one is; None without `machine_list`.
      ssh_port: port of the ssh servers; None: what ssh takes.
      ssh_args: further arguments for ssh, as a shell would split them.
      ssh_command: the program that takes the place of ssh.
      remote_python: interpreter on the other hosts; "": the same path as here.
      host_timeout: seconds of silence after which another machine counts as lost.
    """

    num_workers: int
    gpu_per_worker: int
    log_dir: Optional[str]
    task_label: str
    script: str
    script_args: Sequence[str]
    module: bool = False
    grace: float = GRACE_S
    timeout: Optional[float] = None
    start_timeout: Optional[float] = None
    stall_timeout: Optional[float] = None
    max_restarts: int = 0
    tee: Optional[FrozenSet[int]] = None
    bind: bool = False
    debug: bool = False
    environment: Mapping[str, str] = {}
    dry_run: bool = False
    check: Optional[int] = None
    plan: Optional[str] = None
    hosts: str = ""
    hostfile: str = ""
    machine_list: str = ""
    machine_rank: Optional[int] = None
    ssh_port: Optional[int] = None
    ssh_args: str = ""
    ssh_command: str = "ssh"
    remote_python: str = ""
    host_timeout: float = HOST_TIMEOUT_S
