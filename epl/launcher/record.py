# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`run.json` in the log directory: what ran, where and when, and how it ended."""

import contextlib
import json
import os
import sys
import time
from typing import Any, Callable, Dict, List, Sequence

from epl import private
from epl.launcher.plan import WorkerPlan
from epl.launcher.preflight import installed_version
from epl.version import __version__

FILE_NAME = "run.json"


class Record:
    """Keeps the file up to date: written at the start of every attempt and at its end.

    Args:
      log_dir: where it is.
      arguments: the command line behind the program's name.
      complain: told, once, when it cannot be written.
    """

    def __init__(self, log_dir: str, arguments: Sequence[str], complain: Callable[[str], None]):
        self._path = os.path.join(log_dir, FILE_NAME)
        self._complain = complain
        self._attempts: List[Dict[str, Any]] = []
        self._content: Dict[str, Any] = {
            "arguments": without_values(arguments),
            "working_directory": os.getcwd(),
            "versions": _versions(),
            "start": _now(),
            "end": None,
            "exit_code": None,
            "error": None,
            "attempts": self._attempts,
        }

    def attempt_begins(self, plans: Sequence[WorkerPlan], hosts: Sequence[str]) -> None:
        """Note what is about to run; `hosts` in words, for every worker."""
        self._attempts.append({
            "start": _now(), "end": None, "outcome": None,
            "workers": [{"worker": plan.worker, "host": host, "command": plan.command,
                         "outputs": plan.directory, "logs": plan.log_directory, "exit_code": None}
                        for plan, host in zip(plans, hosts)]})
        self._write()

    def attempt_ended(self, outcome: str, exit_codes: Dict[str, int]) -> None:
        """Note how it went; a worker whose machine was lost has no exit code."""
        attempt = self._attempts[-1]
        attempt.update(end=_now(), outcome=outcome)
        for worker in attempt["workers"]:
            worker["exit_code"] = exit_codes.get(str(worker["worker"]))

    def ended(self, exit_code: int) -> None:
        """Note the end of the last attempt, which is that of the job."""
        self._content.update(end=_now(), exit_code=exit_code)
        self._write()

    def broken_off(self, exit_code: int, reason: str) -> None:
        """Note that the job could not be started, or not again."""
        for attempt in self._attempts:
            if attempt["end"] is None:
                attempt.update(end=_now(), outcome=reason)
        self._content["error"] = reason
        self.ended(exit_code)

    def _write(self) -> None:
        """Readers see the old file or the new one, never half of one."""
        new = self._path + ".new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.remove(new)  # of a launcher that was killed
            with open(private.open_new(new), "w", encoding="utf-8",
                      errors="surrogateescape") as file:
                json.dump(self._content, file, indent=1)
                file.write("\n")
            os.replace(new, self._path)
        except OSError as error:
            self._complain("epl-launch: cannot write {} ({})".format(self._path, error.strerror))
            self._complain = _nothing
            with contextlib.suppress(OSError):
                os.remove(new)


def without_values(arguments: Sequence[str]) -> List[str]:
    """The command line with `K=...` for every `--env K=V`, which may hold a secret."""
    result: List[str] = []
    for number, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag == "--env" and equals:
            word = "--env=" + _hidden(value)
        elif number and arguments[number - 1] == "--env":
            word = _hidden(word)
        result.append(word)
    return result


def _hidden(variable: str) -> str:
    name, equals, _ = variable.partition("=")
    return name + ("=..." if equals else "")


def _nothing(text: str) -> None:
    del text


def _versions() -> Dict[str, str]:
    return {"epl": __version__, "python": ".".join(map(str, sys.version_info[:3])),
            "tensorflow": installed_version(("tensorflow", "tensorflow_cpu", "tensorflow_gpu")),
            "horovod": installed_version(("horovod",))}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
