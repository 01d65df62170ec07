# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command `epl-launch`."""

import argparse
import os
import sys
import time
from datetime import datetime
from typing import List, NoReturn, Optional, Sequence, Set, Tuple

from epl.errors import ConfigError, nearest
from epl.launcher import report
from epl.launcher.devices import find_gpus, plan_devices
from epl.launcher.directories import make_log_dir, make_worker_directories
from epl.launcher.events import WorkerFailed
from epl.launcher.job import GRACE_S
from epl.launcher.output import Console
from epl.launcher.plan import Options, check_script, plan_workers
from epl.launcher.rendezvous import LOOPBACK, serve_rendezvous
from epl.launcher.supervisor import Supervisor
from epl.version import __version__

_DESCRIPTION = """\
Start the workers of a parallel training job, show their output, end them together.

  epl-launch --num_workers 2 train.py --learning_rate 0.1
  epl-launch --num_workers 2 --gpu_per_worker 4 --log_dir /data/run1 scripts/train.sh
"""

_EPILOG = """\
The script: a .py runs with the Python of epl-launch, a .sh with bash; in both, `python` is that
Python. What follows the script goes to it unchanged. A .sh gets the worker's output directory
as an additional first argument.

Each worker finds in its environment:
  EPL_OUTPUT_DIR        its directory for outputs: <log_dir>/<worker index>
  EPL_WORKER_INDEX      0 to EPL_NUM_WORKERS - 1; epl.init() reads it, a script rarely needs it
  EPL_NUM_WORKERS, EPL_WORKER_HOSTS, EPL_GPU_PER_WORKER, EPL_DEVICE_TYPE (gpu or cpu)
  CUDA_VISIBLE_DEVICES  its own GPUs; if set for epl-launch, they are taken from those
With more than one worker also Horovod's HOROVOD_* variables.

Output: every line of a worker appears here after [worker 0], and unchanged in
<log_dir>/<worker index>/stdout.log and stderr.log.

Exit code: 0 if every worker exited with 0. The first worker to fail ends the job: the others get
SIGTERM, and SIGKILL 30 s later; the exit code is then that worker's, 128 + n if signal n
killed it. 130 after Ctrl-C (twice: no waiting), 143 after SIGTERM. 2: the job cannot be started.
"""


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line, not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, "epl-launch: error: {} (see epl-launch --help)\n".format(message))


def main(argv: Optional[Sequence[str]] = None, grace_s: float = GRACE_S) -> int:
    """Run `epl-launch`.

    Args:
      argv: the command line behind the program's name; None: this process's own.
      grace_s: seconds that workers have between SIGTERM and SIGKILL.

    Returns:
      The exit code.
    """
    try:
        return _launch(parse(sys.argv[1:] if argv is None else argv), grace_s)
    except ConfigError as error:
        print("epl-launch: error: {}".format(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the first worker; afterwards it is an event
        return 130


def parse(argv: Sequence[str]) -> Options:
    """The checked command line. Exits with 2 and one line on stderr if it is wrong."""
    parser, value_flags = _parser()
    own, script, script_args = _split(argv, value_flags)
    known, unknown = parser.parse_known_args(own)
    if unknown:
        flag = unknown[0].split("=")[0]
        parser.error("unknown flag {}; {}".format(flag, nearest(flag, value_flags)))
    if known.num_workers is None:
        parser.error("--num_workers is missing")
    if script is None:
        parser.error("a script to run is missing")
    return Options(known.num_workers, known.gpu_per_worker, known.log_dir, known.task_label,
                   script, script_args)


def _parser() -> Tuple[_Parser, Set[str]]:
    """The parser of our flags, and those flags that take a value."""
    parser = _Parser(
        prog="epl-launch", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False,
        usage="epl-launch --num_workers N [options] script.sh|script.py [script arguments]",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    flags = [
        parser.add_argument("--num_workers", type=_positive, metavar="N",
                            help="number of worker processes on this machine (required)"),
        parser.add_argument("--gpu_per_worker", type=_positive, metavar="M", default=1,
                            help="GPUs of each worker, or virtual CPU devices where there are no "
                                 "GPUs (default: 1)"),
        parser.add_argument("--log_dir", metavar="DIR", type=_not_empty,
                            help="directory for logs and outputs; existing logs are appended to "
                                 "(default: experiments/<date-time>_<N>w<M>g_<script>[_LABEL])"),
        parser.add_argument("--task_label", metavar="LABEL", default="",
                            help="a name for the run, the end of the default directory's name"),
    ]
    python = ".".join(map(str, sys.version_info[:3]))
    parser.add_argument("--version", action="version", help="print the version and exit",
                        version="epl-launch {} (Python {})".format(__version__, python))
    return parser, {name for flag in flags for name in flag.option_strings}


def _split(argv: Sequence[str], value_flags: Set[str]) -> Tuple[List[str], Optional[str],
                                                                List[str]]:
    """Cut `argv` at the script: our flags, the script, its arguments.

    argparse itself would look for our flags behind the script, and drop a `--` there.
    """
    position = 0
    while position < len(argv) and argv[position].startswith("-") and argv[position] != "--":
        position += 2 if argv[position] in value_flags else 1
    rest = list(argv[position:])
    if rest and rest[0] == "--":
        rest.pop(0)
    return list(argv[:position]), rest[0] if rest else None, rest[1:]


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("'{}' is not a whole number".format(text)) from None
    if number < 1:
        raise argparse.ArgumentTypeError("{} is too small: use 1 or more".format(number))
    return number


def _not_empty(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty name is no directory")
    return text


def _launch(options: Options, grace_s: float) -> int:
    start = time.monotonic()
    check_script(options.script)
    devices = plan_devices(options.num_workers, options.gpu_per_worker, find_gpus(os.environ))
    stdout, stderr = Console(1), Console(2)
    server, port = None, 0
    if options.num_workers > 1:
        server, port = serve_rendezvous(None, [LOOPBACK] * options.num_workers)
    try:
        log_dir = make_log_dir(options, datetime.now())
        plans = plan_workers(options, log_dir, devices, (LOOPBACK, port), os.environ,
                             sys.executable)
        make_worker_directories(plans)
        if devices.note:
            stderr.say("epl-launch: " + devices.note)
        supervisor = Supervisor(plans, stdout, stderr, grace_s)
        outcome = supervisor.run()
    finally:
        if server is not None:
            server.stop()
    tail = supervisor.stderr_tail(outcome.worker) if isinstance(outcome, WorkerFailed) else []
    stderr.say(report.closing(outcome, time.monotonic() - start, log_dir, tail))
    return outcome.exit_code
