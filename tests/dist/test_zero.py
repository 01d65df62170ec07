# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizer state and parameters that are shared out, in real processes.

A worker dies, and others go on from the checkpoint.
"""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import jobs


def reports(job, workers):
    found = []
    for rank in range(workers):
        with open(job.path(rank, "report.json")) as file:
            found.append(json.load(file))
    return found


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """(checkpoint of a job that was killed, then moved to more workers; that of a plain job)."""
    folder, other = [str(tmp_path_factory.mktemp(name)) for name in ("moved", "plain")]
    logs = [tmp_path_factory.mktemp("logs") for _ in range(3)]
    killed = jobs.launch("zero.py", logs[0], folder, "4", "3", flags=("--max_restarts", "1"),
                         environment={"EPL_ZERO_LEVEL": "v2"}).check()
    for found in reports(killed, 2):
        # The checkpoint of step 3 waited for rows of the worker that was killed.
        assert found["ran"] == [2, 3]
        assert found["shared"]["table/Adam"] == found["shared"]["table"] == [[0, 32], [32, 32]]
    moved = jobs.launch("zero.py", logs[1], folder, "6", workers=4,
                        environment={"EPL_ZERO_LEVEL": "v0"}).check()
    for found in reports(moved, 4):
        assert found["ran"] == [4, 5] and len(found["shared"]["table/Adam"]) == 4
    jobs.launch("zero.py", logs[2], other, "6").check()
    return [tf.train.latest_checkpoint(each) for each in (folder, other)]


def test_a_job_that_was_killed_and_moved_ends_where_others_do(checkpoints):
    moved, plain = checkpoints
    assert tf.train.list_variables(moved) == tf.train.list_variables(plain)
    for name, _ in tf.train.list_variables(plain):
        # The same 32-bit floats, added up by two and by four workers.
        np.testing.assert_allclose(tf.train.load_variable(moved, name),
                                   tf.train.load_variable(plain, name), rtol=1e-5, atol=1e-6)
