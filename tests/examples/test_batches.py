# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""All clones of all workers together read what one device reads."""

import numpy as np
import pytest

from epl.plan.global_batch import divide
from examples.bert.batches import Batches
from examples.bert.worker import WholeBatch

# workers, replicas in each, micro-batches of each
LAYOUTS = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 4), (1, 2, 2), (2, 2, 2), (2, 1, 4), (4, 2, 1)]


def parts(rows, number, replicas=1, micro_batches=1):
    """The parts of the workers of a layout, as `epl.global_batch` gives them."""
    return [divide(rows, micro_batches, replicas, number, index) for index in range(number)]


def test_workers_share_the_global_batches_of_one():
    alone = Batches(10, WholeBatch(4), 3)
    shared = [Batches(10, part, 3) for part in parts(4, 2)]
    for step in range(8):
        rows = alone.at(step)
        assert rows.shape == (1, 4)
        for index, batches in enumerate(shared):
            np.testing.assert_array_equal(batches.at(step), rows[:, index::2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_rows_of_a_step_do_not_depend_on_the_layout(layout):
    alone = Batches(53, WholeBatch(16), 3)
    shared = [Batches(53, part, 3) for part in parts(16, *layout)]
    for step in range(8):  # more than two epochs
        read = np.concatenate([batches.at(step).flatten() for batches in shared])
        assert sorted(read) == sorted(alone.at(step).flatten())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_has_one_micro_batch_of_equal_size_for_every_clone(layout):
    number, replicas, micro_batches = layout
    for part in parts(16, *layout):
        batches = Batches(53, part, 3)
        rows = 16 // (number * replicas * micro_batches)
        assert batches.rows_per_micro_batch == rows
        assert batches.at(5).shape == (replicas * micro_batches, rows)


def test_the_picture_of_the_module():
    found = []
    for part in parts(16, 2, 2, 2):
        batches = Batches(16, part, 0)
        order = Batches(16, WholeBatch(16), 0).at(0).flatten().tolist()
        found.append([[order.index(row) for row in rows] for rows in batches.at(0)])
    assert found == [[[0, 2], [4, 6], [8, 10], [12, 14]], [[1, 3], [5, 7], [9, 11], [13, 15]]]


def test_every_epoch_reads_every_row_once_in_another_order():
    batches = Batches(10, WholeBatch(5), 3)
    epochs = [np.concatenate([batches.at(step), batches.at(step + 1)]).flatten()
              for step in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_may_reach_into_the_next_epoch():
    batches = Batches(3, WholeBatch(2), 0)
    rows = np.concatenate([batches.at(step).flatten() for step in range(3)])
    assert sorted(rows[:3]) == sorted(rows[3:]) == [0, 1, 2]


def test_the_order_depends_on_the_seed_alone():
    first = [Batches(50, WholeBatch(10), seed).at(2).tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("layout", [(1, 1, 1), (2, 2, 2)])
def test_training_may_go_on_at_any_step(layout):
    for part in parts(8, *layout):
        later = Batches(19, part, 5).from_step(4)
        for step in (4, 5, 6):
            for expected in Batches(19, part, 5).at(step):
                np.testing.assert_array_equal(next(later), expected)


@pytest.mark.parametrize("rows, batch, epochs, steps", [
    (10, 4, 2, 5), (10, 4, 1, 2), (10, 4, 0.5, 1), (3, 4, 1, 0), (12, 4, 3, 9)])
def test_steps_are_those_of_the_data_set_whatever_the_layout(rows, batch, epochs, steps):
    for layout in [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 2), (2, 1, 2)]:
        assert Batches(rows, parts(batch, *layout)[-1], 0).steps(epochs) == steps
