# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl-launch --check`: two workers beside plain TensorFlow on one device."""

import pytest

from tests.support import jobs


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    def run(kind, **environment):
        return jobs.launch("check.py", tmp_path_factory.mktemp(kind), kind, flags=["--check=2"],
                           environment=environment, warm=True)
    return run


def test_an_equal_training_passes(check):
    job = check("equal").check()
    report = job.of_worker(0)
    assert "epl check: 2 step(s) beside plain TensorFlow" in report
    assert "epl check: SAME: 1 fetch(es), 4 gradient(s), 15 variable(s)" in report
    assert "IteratorGetNext:0 [16, 3], 2 parts" in report
    assert "note" not in report  # what dropout drew is repeated
    assert "came to its end" not in job.output
    assert job.output.count("epl check: SAME") == 1  # the chief alone speaks


def test_a_sum_over_the_workers_is_found(check):
    job = check("sum")
    assert job.code == 3
    report = job.of_worker(0)
    for name in ("first/kernel", "first/bias", "second/kernel", "second/bias"):
        line = next(line for line in report.splitlines() if "gradient of " + name in line)
        assert "DIFFERS" in line
    assert "2 times plain TensorFlow's" in report and "2 is the number of parts" in report
    assert "epl check: DIFFERENT:" in report
    assert "epl-launch: the check found differences in" in job.output
    assert "exited with code" not in job.output


def test_workers_that_read_the_same_rows_are_named(check):
    assert "worker 1 reads the same rows as worker 0" in check("same_rows").of_worker(0)


def test_a_number_of_each_worker_is_compared_part_after_part(check):
    report = check("own_scale").check().of_worker(0)
    assert "part after part, as 'Placeholder:0' is fed 1.0 on worker 0, and 2.0 on" in report
    assert "SAME: 1 fetch(es), 4 gradient(s), 15 variable(s)" in report


def test_feeds_of_a_fixed_size_for_several_clones_of_several_workers(check):
    report = check("fixed", EPL_PIPELINE_NUM_MICRO_BATCH="2").check().of_worker(0)
    assert "has the fixed shape (8,)" in report
    assert "SAME: 1 fetch(es), 4 gradient(s), 15 variable(s)" in report


def test_a_loss_that_every_worker_holds_differently_is_found(check):
    job = check("own_loss")
    assert job.code == 3
    line = next(line for line in job.of_worker(0).splitlines() if "fetch     mul" in line)
    assert "DIFFERS, each worker's own rows; their mean is plain TensorFlow's" in line
    assert "DIFFERENT: 1 of 20 value(s)" in job.of_worker(0)


def test_noise_behind_the_gradients_is_the_chiefs(check):
    report = check("noise").check().of_worker(0)
    assert "SAME: 1 fetch(es), 4 gradient(s), 15 variable(s)" in report
    assert "note" not in report


def test_what_cannot_be_checked_says_so(check):
    job = check("short")
    assert job.code == 4
    assert "not all could be checked" in job.output
    # The worker that ends first says so; the launcher then ends the other.
    assert "NOT CHECKED: the script ended after 1 training step(s)" in job.output
