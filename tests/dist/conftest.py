# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fixtures that start jobs and leave nothing behind."""

import contextlib
import os
import signal

import pytest

from tests.support.jobs import environment_for
from tests.support.launched import LAUNCH, Launched, read


@pytest.fixture
def script(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return str(path)
    return write


@pytest.fixture
def start(tmp_path):
    """Starts `epl-launch`; at the end of the test kills what a broken launcher left."""
    started = []

    def launch(path, *args, workers=2, command=LAUNCH, flags=(), environment=None):
        own = ["--num_workers", str(workers), "--log_dir", str(tmp_path / "logs")]
        job = Launched(command + own + list(flags) + [path] + list(args), tmp_path / "logs",
                       environment_for(environment))
        started.append(job)
        return job

    yield launch
    for job in started:
        if job.process.poll() is None:
            job.process.kill()
            job.process.communicate()
        for root, _, files in os.walk(job.directory):
            for name in files:
                if name.startswith("pid"):
                    with contextlib.suppress(ProcessLookupError, ValueError):
                        os.kill(int(read(os.path.join(root, name))), signal.SIGKILL)
