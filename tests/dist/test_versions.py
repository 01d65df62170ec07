# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers whose scripts bring other versions than the launcher's are found before training.

The launcher compares machines. What a shell script of one worker chooses, another environment for
example, only the workers themselves can see.
"""

import os
import shutil

import pytest

import epl.version
from tests.support.jobs import ROOT, launch

TRAIN = """
import os
import platform
import tensorflow.compat.v1 as tf
import epl
from tests.dist.jobs.common import line_fit, start

rank, _ = start()
if rank == 1:
    exec(os.environ.get("PATCH", ""))
x, weight, loss = line_fit()
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    session.run(train, {x: [1.0]})
print("trained")
"""


@pytest.mark.parametrize("kind, patch", [
    ("tensorflow", "tf.__version__ = '0.0.1'"),
    ("python", "platform.python_version = lambda: '0.0.1'"),
    ("epl", ""),
])
def test_other_versions_of_one_worker_are_found(tmp_path, kind, patch):
    """EPL's is a real copy of another version; two of the others are not to be had in one test."""
    path = tmp_path / "other"
    if kind == "epl":
        shutil.copytree(os.path.join(ROOT, "epl"), str(path / "epl"),
                        ignore=shutil.ignore_patterns("__pycache__"))
        version = path / "epl" / "version.py"
        version.write_text(version.read_text().replace(epl.version.__version__, "0.0.1"))
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "train.sh").write_text(
        "if [ $EPL_WORKER_INDEX = 1 ]; then export PYTHONPATH={}:$PYTHONPATH; fi\n"
        "exec python {}\n".format(path, tmp_path / "train.py"))
    done = launch(str(tmp_path / "train.sh"), tmp_path / "logs", environment={"PATCH": patch})
    assert done.code == 1 and "trained" not in done.output
    assert "the workers do not run the same program" in done.output
    assert "worker(s) 1: {} 0.0.1".format(kind) in done.output
