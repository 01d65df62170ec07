# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command `epl-launch`: its flags, its help, its entry point."""

import argparse
import os
import re
import shlex
import sys
from typing import Dict, FrozenSet, List, NamedTuple, NoReturn, Optional, Sequence, Set

from epl.errors import ConfigError, nearest, quoted
from epl.launcher import runner
from epl.launcher.options import CHECK_STEPS, GRACE_S, HOST_TIMEOUT_S, USAGE_CODE, Options
from epl.launcher.placement import count_workers
from epl.launcher.variables import read_variables
from epl.limits import MAX_DEVICES, MAX_SECONDS, MAX_WORKERS
from epl.shared.check import layout_of
from epl.version import __version__

_USAGE = """\
epl-launch --num_workers N [options] [--] script.sh|script.py|program [arguments]
       epl-launch --num_workers N [options] -m module [arguments]"""

_DESCRIPTION = """\
Start the workers of a parallel training job, show their output, end them together.

  epl-launch --num_workers 2 train.py --learning_rate 0.1
  epl-launch --num_workers 2 --gpu_per_worker 4 --log_dir /data/run1 scripts/train.sh
  epl-launch --num_workers 4 --max_restarts 3 --stall_timeout 600 -m my_package.train
  epl-launch --hosts alpha:4,beta:4 train.py
"""

_EPILOG = """\
What runs: a .py with the Python of epl-launch, a .sh with bash, anything else as a program, looked
for in PATH; `python` in all of them is the Python of epl-launch. What follows the script goes to
it unchanged. A .sh gets the worker's output directory as an additional first argument.

Each worker finds in its environment:
  EPL_OUTPUT_DIR        its directory for outputs: <log_dir>/<worker index>
  EPL_WORKER_INDEX      0 to EPL_NUM_WORKERS - 1; epl.init() reads it, a script rarely needs it
  EPL_RESTART_COUNT     how often the job was started again (--max_restarts)
  EPL_NUM_WORKERS, EPL_WORKER_HOSTS, EPL_GPU_PER_WORKER, EPL_DEVICE_TYPE (gpu or cpu)
  CUDA_VISIBLE_DEVICES  its own GPUs; if set for epl-launch, they are taken from those
With more than one worker also Horovod's HOROVOD_* variables. --dry_run shows all of them.

Output: every line of a worker appears here after [worker 0] (or [host:0]), and in combined.log;
unchanged in <log_dir>/<worker index>/stdout.log and stderr.log. run.json has the job's data.

Exit code: 0 if every worker exited with 0. The first worker to fail ends the job: the others get
SIGTERM, and SIGKILL after --grace seconds; the exit code is then that worker's, 128 + n if signal n
killed it. 130 after Ctrl-C (twice: no waiting). SIGTERM asks the workers to stop: 0 if all then
exit with 0, else 143. 124: a time-out. 1: a host was lost, or a worker left before the end.
With --check 3: values differ, 4: not all was compared.
2: the job cannot be started.
"""


_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_MANY = 10 ** 9
_TRUTHS = {"true": True, "false": False}
_LONGEST_LINE = 500

# Flags that would have no effect without one of the others.
_BY_SSH = ("--hosts", "--hostfile")
_NEEDS: Dict[str, Sequence[str]] = {
    "--ssh_port": _BY_SSH, "--ssh_args": _BY_SSH, "--ssh_command": _BY_SSH,
    "--remote_python": _BY_SSH, "--host_timeout": _BY_SSH + ("--machine_list",)}


_SAID = "it says how many workers and devices there are"
_NOT_TRAINED = "nothing is trained"
_NOT_WITH_PLAN = dict(
    {flag: _SAID for flag in ("--num_workers", "--gpu_per_worker", "--hosts", "--hostfile",
                              "--machine_list", "--machine_rank")},
    **{flag: _NOT_TRAINED for flag in ("--check", "--max_restarts", "--stall_timeout")})


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line, not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_CODE, "epl-launch: error: {} (see epl-launch --help)\n".format(
            quoted(message, _LONGEST_LINE)))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run `epl-launch`.

    Args:
      argv: the command line behind the program's name; None: this process's own.

    Returns:
      The exit code.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return runner.run(parse(arguments), arguments)
    except ConfigError as error:
        print("epl-launch: error: {}".format(error), file=sys.stderr)
        return USAGE_CODE
    except OSError as error:  # no descriptor, process or memory is left for what a job needs
        print("epl-launch: error: the job cannot be run: {}; see to what is missing (ulimit -a "
              "shows the limits), and start it again".format(error), file=sys.stderr)
        return USAGE_CODE
    except KeyboardInterrupt:  # before the first worker; afterwards it is an event
        return 130


def parse(argv: Sequence[str]) -> Options:
    """The checked command line. Exits with 2 and one line on stderr if it is wrong.

    Raises:
      ConfigError: it does not fit the files or the environment that it names.
    """
    parser = _parser()
    value_flags = {name for action in parser._actions if action.nargs not in (0, "?")
                   for name in action.option_strings}
    flags = {name for action in parser._actions for name in action.option_strings}
    words = _split(argv, value_flags)
    known, unknown = parser.parse_known_args(words.own)
    if unknown:
        flag = unknown[0].split("=")[0]
        parser.error("unknown flag {}; {}".format(quoted(flag), nearest(flag, flags)))
    if words.script is None:
        parser.error("-m needs the name of a module" if words.module
                     else "a script to run is missing")
    assert words.script is not None
    _check_effect(parser, {word.split("=")[0] for word in words.own})
    elsewhere = known.hosts or known.hostfile or known.machine_list
    if known.plan:
        _check_plan(parser, {word.split("=")[0] for word in words.own})
        known.num_workers, known.gpu_per_worker = 1, 0  # who plans, and computes nothing
    if known.num_workers is None and not elsewhere:
        parser.error("--num_workers is missing")
    fields = vars(known)
    environment = read_variables(fields.pop("env_file") or [], fields.pop("env") or [], os.environ)
    fields["num_workers"] = known.num_workers or 0
    if known.debug and known.tee is None and not any(w.startswith("--tee") for w in words.own):
        fields["tee"] = frozenset()
    del fields["module"]
    for name in ("hosts", "hostfile", "machine_list"):
        fields[name] = fields[name] or ""
    options = count_workers(Options(script=words.script, script_args=words.arguments,
                                    module=words.module, environment=environment, **fields))
    _check_together(parser, options)
    return options


def _check_effect(parser: _Parser, given: Set[str]) -> None:
    for flag, needed in _NEEDS.items():
        if flag in given and not given.intersection(needed):
            parser.error("{} has no effect without {}; leave it out".format(
                flag, " or ".join(needed)))


def _check_plan(parser: _Parser, given: Set[str]) -> None:
    for flag in sorted(given.intersection(_NOT_WITH_PLAN)):
        parser.error("--plan and {} do not go together: {}".format(flag, _NOT_WITH_PLAN[flag]))


def _check_together(parser: _Parser, options: Options) -> None:
    """What no flag can see by itself."""
    if options.tee and max(options.tee) >= options.num_workers:
        parser.error("--tee {}: there are workers 0 to {}".format(
            max(options.tee), options.num_workers - 1))
    if options.check and options.max_restarts:
        parser.error("--check and --max_restarts do not go together: a check that finds a "
                     "difference ends with an exit code that is no failure of the job")
    if options.debug and (options.stall_timeout or options.start_timeout):
        parser.error("--debug and --{}_timeout do not go together: a program that waits in the "
                     "debugger makes no progress".format(
                         "stall" if options.stall_timeout else "start"))


def _parser() -> _Parser:
    parser = _Parser(prog="epl-launch", description=_DESCRIPTION, epilog=_EPILOG, usage=_USAGE,
                     allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_workers", type=_between(1, MAX_WORKERS), metavar="N",
                        help="number of worker processes (required, but for several machines)")
    parser.add_argument("--gpu_per_worker", type=_between(0, MAX_DEVICES), metavar="M", default=1,
                        help="GPUs of each worker, or virtual CPU devices where there are no "
                             "GPUs; 0: use no GPU (default: 1)")
    parser.add_argument("-m", metavar="MODULE", dest="module",
                        help="run a module, as python -m does; what follows are its arguments")
    parser.add_argument("--dry_run", action="store_true",
                        help="print what would be started on which host, and end")
    _add_output_flags(parser)
    _add_limit_flags(parser)
    _add_worker_flags(parser)
    _add_machine_flags(parser)
    python = ".".join(map(str, sys.version_info[:3]))
    parser.add_argument("--check", nargs="?", const=CHECK_STEPS, type=_between(1, _MANY),
                        metavar="STEPS",
                        help="compare the first training steps (default: {}) with plain "
                             "TensorFlow on one device with the whole batch, print what differs "
                             "and by how much, and end; write --check=STEPS".format(CHECK_STEPS))
    parser.add_argument("--plan", metavar="WxD[:gpu]", type=_layout,
                        help="print the plan of the script for W workers with D CPU devices each, "
                             "with :gpu GPUs, whether they are there or not, and end before "
                             "anything is run; in the place of --num_workers and "
                             "--gpu_per_worker")
    parser.add_argument("--version", action="version", help="print the version and exit",
                        version="epl-launch {} (Python {})".format(__version__, python))
    return parser


def _add_output_flags(parser: _Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--log_dir", metavar="DIR", type=_not_empty,
                       help="directory for logs and outputs; existing logs are appended to "
                            "(default: experiments/<date-time>_<N>w<M>g_<script>[_LABEL])")
    group.add_argument("--task_label", metavar="LABEL", default="",
                       help="a name for the run, the end of the default directory's name")
    group.add_argument("--tee", metavar="all|none|0,3", type=_workers, default=None,
                       help="the workers whose output the terminal shows (default: all; with "
                            "--debug none but worker 0); the logs have everything")


def _add_limit_flags(parser: _Parser) -> None:
    group = parser.add_argument_group("when things go wrong (S: seconds)")
    group.add_argument("--grace", metavar="S", type=_seconds(0.0), default=GRACE_S,
                       help="time between SIGTERM and SIGKILL when the job is ended (default: 30)")
    group.add_argument("--timeout", metavar="S", type=_seconds(),
                       help="end the job after this time, with exit code 124")
    group.add_argument("--start_timeout", metavar="S", type=_seconds(),
                       help="end the job if not every worker is ready to train after this time; "
                            "also how long machines wait for each other")
    group.add_argument("--stall_timeout", metavar="S", type=_seconds(),
                       help="end the job if training has begun and no worker finishes a step for "
                            "this time; longer than an evaluation or a checkpoint takes")
    group.add_argument("--max_restarts", metavar="N", type=_between(0, _MANY), default=0,
                       help="start the whole job again after a failure, at most N times, if "
                            "training had begun (default: 0)")


def _add_worker_flags(parser: _Parser) -> None:
    group = parser.add_argument_group("workers")
    group.add_argument("--env", metavar="K[=V]", action="append",
                       help="set variable K for the workers, or pass on the launcher's; again for "
                            "more")
    group.add_argument("--env_file", metavar="FILE", action="append",
                       help="variables to set, K=V a line; what --env says counts more")
    group.add_argument("--bind", action="store_true",
                       help="bind every worker to its own share of the machine's cores")
    group.add_argument("--debug", nargs="?", const=True, default=False, type=_truth,
                       metavar="True|False",
                       help="give worker 0 the terminal, for a debugger like pdb")
    group.add_argument("--no-debug", dest="debug", action="store_false",
                       help="do not (default)")


def _add_machine_flags(parser: _Parser) -> None:
    group = parser.add_argument_group("several machines (docs/hosts.md)")
    group.add_argument("--hosts", metavar="H1:N,H2:N", type=_not_empty,
                       help="machines to reach by ssh, and how many workers each takes")
    group.add_argument("--hostfile", metavar="FILE", type=_not_empty,
                       help="the same from a file, one machine a line: name slots=N")
    group.add_argument("--machine_list", metavar="IP:PORT,...", type=_not_empty,
                       help="all machines; epl-launch is started by hand on each")
    group.add_argument("--machine_rank", metavar="I", type=_between(0, MAX_WORKERS),
                       help="which of the machines this one is, from 0")
    group.add_argument("--ssh_port", metavar="PORT", type=_between(1, 65535),
                       help="port of the ssh servers")
    group.add_argument("--ssh_args", metavar="ARGS", default="", type=_words,
                       help="further arguments of ssh, in one word")
    group.add_argument("--ssh_command", metavar="COMMAND", default="ssh", type=_words,
                       help="a program to use instead of ssh")
    group.add_argument("--host_timeout", metavar="S", type=_seconds(), default=HOST_TIMEOUT_S,
                       help="a machine that is silent for this time is lost, and ends the job "
                            "(default: 10)")
    group.add_argument("--remote_python", metavar="PATH", default="",
                       help="the Python on the other machines (default: the same path as here)")


class _Words(NamedTuple):
    """The command line, cut: our flags, the script (a module's name with `module`), its arguments.
    """

    own: List[str]
    script: Optional[str]
    arguments: List[str]
    module: bool


def _split(argv: Sequence[str], value_flags: Set[str]) -> _Words:
    """Cut `argv` at the script.

    argparse itself would look for our flags behind the script, and drop a `--` there.
    """
    position = 0
    while position < len(argv) and argv[position].startswith("-") and argv[position] not in (
            "--", "-m"):
        has_value = argv[position] in value_flags or (
            argv[position] == "--debug" and argv[position + 1:][:1] != []
            and argv[position + 1].lower() in _TRUTHS)
        position += 2 if has_value else 1
    rest = list(argv[position:])
    module = rest[:1] == ["-m"]
    if rest and rest[0] in ("--", "-m"):
        rest.pop(0)
    return _Words(list(argv[:position]), rest[0] if rest else None, rest[1:], module)


def _between(least: int, most: int):  # type: ignore[no-untyped-def]
    def number(text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise argparse.ArgumentTypeError("'{}' is not a whole number".format(quoted(text)))
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError("{} is too small: use {} or more".format(value, least))
        if value > most:
            raise argparse.ArgumentTypeError("{} is too large: use {} or less".format(value, most))
        return value
    return number


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise argparse.ArgumentTypeError("'{}' is neither True nor False".format(quoted(text)))
    return _TRUTHS[text.lower()]


def _words(text: str) -> str:
    """Several words in one, as a shell would take them apart."""
    try:
        shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("'{}' cannot be taken apart ({}); close what is quoted"
                                         .format(quoted(text), error)) from None
    return text


def _seconds(least: Optional[float] = None):  # type: ignore[no-untyped-def]
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError("'{}' is no number of seconds".format(
                quoted(text))) from None
        if not 0 <= value <= MAX_SECONDS or (least is None and value == 0):
            raise argparse.ArgumentTypeError("{} seconds: use a number of {}, at most {:g}".format(
                quoted(text), "more than 0" if least is None else "0 or more", MAX_SECONDS))
        return value
    return number


def _workers(text: str) -> Optional[FrozenSet[int]]:
    if text in ("all", "none"):
        return None if text == "all" else frozenset()
    words = text.split(",")
    if not all(_INTEGER.fullmatch(word) and int(word) >= 0 for word in words):
        raise argparse.ArgumentTypeError("'{}': use all, none, or numbers of workers like 0,3"
                                         .format(quoted(text)))
    return frozenset(map(int, words))


def _layout(text: str) -> str:
    found = layout_of(text)
    if found is None or found[0] > MAX_WORKERS or found[1] > MAX_DEVICES:
        raise argparse.ArgumentTypeError(
            "'{}': write workers x devices of each, such as 4x8 or 4x8:gpu, at most {}x{}".format(
                quoted(text), MAX_WORKERS, MAX_DEVICES))
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; leave it out or give a name")
    return text
