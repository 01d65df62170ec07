# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to one worker, the job ends without anybody losing patience, and says why."""

import pytest

from tests.support import jobs


@pytest.mark.parametrize("kind, message", [
    ("other_shapes", "worker(s) 1: variable w:0 float32 (4,)"),
    ("other_config", "worker(s) 1: config communication.max_splits = 11"),
    ("other_rows", "worker(s) 1: rows of table, looked up without data that was fed or read"),
    ("imported_training", "'train/update_w/ApplyAdam' (ApplyAdam) updates a trainable variable"),
    ("extra_step", "worker 1: end a training session"),
    ("uneven_data", "Its data ended before that of others: epl.shard gives"),
    ("extra_step", "to end training from one worker, call epl.request_stop()"),
    ("exception", "worker 1 has had enough"),
    ("summary_on_chief", "worker 0: run the step of epl/gradients_0, writing no variable"),
    ("step_on_timer", "steps of several workers cannot be run on a timer"),
    ("failing_step", "the input is not finite"),
    ("other_fetch", "worker 1: run the step of epl/gradients_1"),
    ("no_strategy", "no strategy is set"),
])
def test_job_ends_with_the_cause(tmp_path, kind, message):
    result = jobs.launch("failures.py", tmp_path, kind, **jobs.PATIENT)
    assert result.code != 0, result.output
    assert message in result.output


def test_closing_a_session_does_not_hide_the_error(tmp_path):
    result = jobs.launch("failures.py", tmp_path, "close_in_finally", **jobs.PATIENT)
    assert result.code != 0
    box = result.output[result.output.index("+-- epl-launch: worker 1"):]
    assert "ValueError: worker 1 has had enough" in box
    assert "different things" not in result.output
