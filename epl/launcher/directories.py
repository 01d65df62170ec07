# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the logs and outputs of a job go."""

import os
import re
from datetime import datetime
from typing import Iterable, Sequence

from epl.errors import ConfigError
from epl.launcher.options import Options
from epl.launcher.plan import WorkerPlan
from epl.launcher.program import short_name

DEFAULT_ROOT = "experiments"


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
        os.makedirs(path, exist_ok=True)
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
            os.makedirs(path, exist_ok=True)
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


def _make_new(path: str) -> str:
    """Make `path`, or `path-2`, ...: another job may have started in the same second."""
    candidate, number = path, 1
    while True:
        try:
            os.makedirs(candidate)
            return candidate
        except FileExistsError:
            number += 1
            candidate = "{}-{}".format(path, number)


def _refusal(path: str, error: OSError) -> ConfigError:
    return ConfigError("directory '{}' cannot be made ({}); choose another with --log_dir".format(
        path, error.strerror))
