# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the logs and outputs of a job go."""

import contextlib
import os
import re
from datetime import datetime
from typing import Iterable, Optional, Sequence

from epl import private
from epl.errors import ConfigError
from epl.launcher.options import Options
from epl.launcher.plan import WorkerPlan
from epl.launcher.program import short_name

DEFAULT_ROOT = "experiments"

_NOT_FOR_OTHERS = 0o022


def make_log_dir(options: Options, now: datetime) -> str:
    """Make the directory of the job: the one the user chose, else a new one.

    Returns:
      Its absolute path.

    Raises:
      ConfigError: it cannot be made.
    """
    path = os.path.abspath(options.log_dir or default_name(options, now))
    try:
        if options.log_dir is None:
            return _make_new(path)
        _make(path)
        return path
    except OSError as error:
        raise _refusal(path, error) from error


def make_worker_directories(plans: Sequence[WorkerPlan]) -> None:
    """Make the directories of every worker. Raises ConfigError if one cannot be written to."""
    make_directories([d for plan in plans for d in (plan.directory, plan.log_directory)])


def make_directories(paths: Iterable[str]) -> None:
    """Make directories that may exist. Raises ConfigError if one cannot be written to."""
    for path in paths:
        try:
            _make(path)
        except OSError as error:
            raise _refusal(path, error) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigError("directory '{}' is not writable; choose another with --log_dir"
                              .format(path))


def default_name(options: Options, now: datetime) -> str:
    """`experiments/<date-time>_<N>w<M>g_<script>[_<label>]`."""
    name = "{:%Y%m%d-%H%M%S}_{}w{}g_{}".format(
        now, options.num_workers, options.gpu_per_worker, short_name(options))
    if options.task_label:
        name += "_" + re.sub(r"[^\w.-]", "-", options.task_label)
    return os.path.join(DEFAULT_ROOT, name)


def warning_of(path: str) -> Optional[str]:
    """What to tell the user about a directory in which others can replace what is there."""
    with contextlib.suppress(OSError):
        why = private.others_can_write(path)
        if why:
            return "directory '{}' {}: they could replace logs and outputs; choose another with " \
                   "--log_dir, or chmod it".format(path, why)
    return None


def _make(path: str, exist_ok: bool = True) -> None:
    """Make a directory, and those above it, in which nobody else can write."""
    before = os.umask(_NOT_FOR_OTHERS)
    os.umask(before | _NOT_FOR_OTHERS)
    try:
        os.makedirs(path, exist_ok=exist_ok)
    finally:
        os.umask(before)


def _make_new(path: str) -> str:
    """Make `path`, or `path-2`, ...: another job may have started in the same second."""
    candidate, number = path, 1
    while True:
        try:
            _make(candidate, exist_ok=False)
            return candidate
        except FileExistsError:
            number += 1
            candidate = "{}-{}".format(path, number)


def _refusal(path: str, error: OSError) -> ConfigError:
    return ConfigError("directory '{}' cannot be made ({}); choose another with --log_dir".format(
        path, error.strerror))
