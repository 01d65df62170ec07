# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.shard`: all workers end with the data, after the steps of the plain script."""

import json

import numpy as np
import pytest

from tests.support import jobs


def reports(result, workers):
    found = []
    for index in range(workers):
        with open(result.path(index, "report.json")) as file:
            found.append(json.load(file))
    return found


@pytest.mark.parametrize("workers", [2, 3])
def test_training_ends_with_the_data_on_all_workers(tmp_path, workers):
    """43 rows in global batches of 8 or 12, and two micro-batches on each worker."""
    changes = {"GLOBAL_BATCH": str(4 * workers)}
    plain, = reports(jobs.alone("end_of_data.py", tmp_path / "plain", "--plain",
                                environment=changes, warm=True).check(), 1)
    found = reports(jobs.launch("end_of_data.py", tmp_path / "epl", workers=workers,
                                environment=changes, warm=True).check(), workers)
    steps = 43 // (4 * workers)
    for own in found:
        assert own["plain_session"][0] == plain["plain_session"][0] == [steps, 2 * steps]
        np.testing.assert_allclose(own["plain_session"][1], plain["plain_session"][1], rtol=1e-5)
    for way in ("monitored_session", "estimator"):
        assert found[0][way][0] == plain[way][0] == steps
        np.testing.assert_allclose(found[0][way][1], plain[way][1], rtol=1e-5)
        assert all(own[way] in (None, found[0][way]) for own in found[1:])
