# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several workers together read what one worker reads."""

import numpy as np
import pytest

from examples.bert.batches import Batches
from examples.bert.errors import UserError


def test_workers_share_the_global_batches_of_one():
    alone = Batches(10, 4, seed=3)
    shared = [Batches(10, 4, 3, worker_num=2, worker_index=i) for i in range(2)]
    for step in range(8):
        rows = alone.at(step)
        for index, batches in enumerate(shared):
            np.testing.assert_array_equal(batches.at(step), rows[index::2])


def test_every_epoch_reads_every_row_once_in_another_order():
    batches = Batches(10, 5, seed=3)
    epochs = [np.concatenate([batches.at(step), batches.at(step + 1)]) for step in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_may_reach_into_the_next_epoch():
    batches = Batches(3, 2, seed=0)
    rows = np.concatenate([batches.at(step) for step in range(3)])
    assert sorted(rows[:3]) == sorted(rows[3:]) == [0, 1, 2]


def test_the_order_depends_on_the_seed_alone():
    first = [Batches(50, 10, seed).at(2).tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_training_may_go_on_at_any_step():
    batches = Batches(7, 3, seed=5)
    later = batches.from_step(4)
    for step in (4, 5, 6):
        np.testing.assert_array_equal(next(later), Batches(7, 3, seed=5).at(step))


@pytest.mark.parametrize("rows, batch, epochs, steps", [
    (10, 4, 2, 5), (10, 4, 1, 2), (10, 4, 0.5, 1), (3, 4, 1, 0), (12, 4, 3, 9)])
def test_steps_are_those_of_the_data_set_whatever_the_number_of_workers(rows, batch, epochs, steps):
    for workers in (1, 2, 4):
        assert Batches(rows, batch, 0, workers).steps(epochs) == steps


def test_a_batch_that_workers_cannot_share():
    with pytest.raises(UserError, match="train_batch_size 9 .* number of workers, 2"):
        Batches(10, 9, 0, worker_num=2)
