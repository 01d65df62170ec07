# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""All clones of all workers together read what one device reads."""

import dataclasses

import numpy as np
import pytest

from examples.bert.batches import Batches
from examples.bert.errors import UserError
from examples.bert.worker import Worker

ALONE = Worker()
# workers, replicas in each, micro-batches of each
LAYOUTS = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 4), (1, 2, 2), (2, 2, 2), (2, 1, 4), (4, 2, 1)]


def workers(number, replicas=1, micro_batches=1):
    """The workers of a layout."""
    first = Worker(number=number, replicas=replicas, micro_batches=micro_batches)
    return [dataclasses.replace(first, index=index) for index in range(number)]


def test_workers_share_the_global_batches_of_one():
    alone = Batches(10, 4, 3, ALONE)
    shared = [Batches(10, 4, 3, worker) for worker in workers(2)]
    for step in range(8):
        rows = alone.at(step)
        assert rows.shape == (1, 4)
        for index, batches in enumerate(shared):
            np.testing.assert_array_equal(batches.at(step), rows[:, index::2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_rows_of_a_step_do_not_depend_on_the_layout(layout):
    alone = Batches(53, 16, 3, ALONE)
    shared = [Batches(53, 16, 3, worker) for worker in workers(*layout)]
    for step in range(8):  # more than two epochs
        read = np.concatenate([batches.at(step).flatten() for batches in shared])
        assert sorted(read) == sorted(alone.at(step).flatten())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_has_one_micro_batch_of_equal_size_for_every_clone(layout):
    number, replicas, micro_batches = layout
    for worker in workers(*layout):
        batches = Batches(53, 16, 3, worker)
        rows = 16 // (number * replicas * micro_batches)
        assert batches.rows_per_micro_batch == rows
        assert batches.at(5).shape == (replicas * micro_batches, rows)


def test_the_picture_of_the_module():
    found = []
    for worker in workers(2, 2, 2):
        batches = Batches(16, 16, 0, worker)
        order = Batches(16, 16, 0, ALONE).at(0).flatten().tolist()
        found.append([[order.index(row) for row in rows] for rows in batches.at(0)])
    assert found == [[[0, 2], [4, 6], [8, 10], [12, 14]], [[1, 3], [5, 7], [9, 11], [13, 15]]]


def test_every_epoch_reads_every_row_once_in_another_order():
    batches = Batches(10, 5, 3, ALONE)
    epochs = [np.concatenate([batches.at(step), batches.at(step + 1)]).flatten()
              for step in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_may_reach_into_the_next_epoch():
    batches = Batches(3, 2, 0, ALONE)
    rows = np.concatenate([batches.at(step).flatten() for step in range(3)])
    assert sorted(rows[:3]) == sorted(rows[3:]) == [0, 1, 2]


def test_the_order_depends_on_the_seed_alone():
    first = [Batches(50, 10, seed, ALONE).at(2).tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("layout", [(1, 1, 1), (2, 2, 2)])
def test_training_may_go_on_at_any_step(layout):
    for worker in workers(*layout):
        later = Batches(19, 8, 5, worker).from_step(4)
        for step in (4, 5, 6):
            for expected in Batches(19, 8, 5, worker).at(step):
                np.testing.assert_array_equal(next(later), expected)


@pytest.mark.parametrize("rows, batch, epochs, steps", [
    (10, 4, 2, 5), (10, 4, 1, 2), (10, 4, 0.5, 1), (3, 4, 1, 0), (12, 4, 3, 9)])
def test_steps_are_those_of_the_data_set_whatever_the_layout(rows, batch, epochs, steps):
    for layout in [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 2), (2, 1, 2)]:
        assert Batches(rows, batch, 0, workers(*layout)[-1]).steps(epochs) == steps


@pytest.mark.parametrize("batch, layout, product, cure", [
    (9, (2, 1, 1), "2 worker(s) x 1 replica(s) x 1 micro-batch(es) = 2", "use 8 or 10"),
    (12, (1, 2, 4), "1 worker(s) x 2 replica(s) x 4 micro-batch(es) = 8", "use 8 or 16"),
    (3, (2, 1, 4), "2 worker(s) x 1 replica(s) x 4 micro-batch(es) = 8", "use 8"),
])
def test_a_batch_that_the_clones_cannot_share(batch, layout, product, cure):
    with pytest.raises(UserError) as caught:
        Batches(10, batch, 0, workers(*layout)[0])
    message = str(caught.value)
    assert message.startswith("--train_batch_size {} is the global batch".format(batch))
    assert product in message and message.endswith("; " + cure)
