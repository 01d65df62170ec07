# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a step: every row is read once, by one clone, in the step of the plain script.
"""

import numpy as np
import pytest

from epl.errors import ConfigError
from epl.plan.global_batch import GlobalBatch, divide

# workers, replicas in each, micro-batches of each
LAYOUTS = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 4), (1, 2, 2), (2, 2, 2), (2, 1, 4), (4, 2, 1)]


def workers(rows, layout):
    number, replicas, micro_batches = layout
    return [divide(rows, micro_batches, replicas, number, index) for index in range(number)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_reads_the_rows_of_the_plain_script(layout):
    batches = workers(16, layout)
    for step in range(5):
        read = np.concatenate([batch.of_step(step) for batch in batches])
        assert sorted(read) == list(range(step * 16, (step + 1) * 16))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_sizes_fit_each_other(layout):
    number, replicas, micro_batches = layout
    for index, batch in enumerate(workers(16, layout)):
        assert batch == GlobalBatch(16 // (number * replicas * micro_batches), micro_batches,
                                    replicas, number, index)
        assert batch.rows == 16
        assert batch.batches_per_step == replicas * micro_batches
        assert batch.rows_per_worker == len(batch.of_step(0)) == 16 // number


def test_the_picture_of_the_module():
    found = [batch.of_step(0).reshape([4, 2]).tolist() for batch in workers(16, (2, 2, 2))]
    assert found == [[[0, 2], [4, 6], [8, 10], [12, 14]], [[1, 3], [5, 7], [9, 11], [13, 15]]]


@pytest.mark.parametrize("rows, batch, epochs, steps", [
    (10, 4, 2, 5), (10, 4, 1, 2), (10, 4, 0.5, 1), (3, 4, 1, 0), (12, 4, 3, 9)])
def test_steps_are_those_of_the_rows_whatever_the_layout(rows, batch, epochs, steps):
    for layout in [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 2), (2, 1, 2)]:
        assert workers(batch, layout)[-1].steps(rows, epochs) == steps
    assert GlobalBatch(batch).steps(rows) == rows // batch


@pytest.mark.parametrize("rows, layout, product, cure", [
    (9, (2, 1, 1), "2 worker(s) x 1 replica(s) x 1 micro-batch(es) = 2", "use 8 or 10"),
    (12, (1, 2, 4), "1 worker(s) x 2 replica(s) x 4 micro-batch(es) = 8", "use 8 or 16"),
    (3, (2, 1, 4), "2 worker(s) x 1 replica(s) x 4 micro-batch(es) = 8", "use 8"),
])
def test_rows_that_the_clones_cannot_share(rows, layout, product, cure):
    with pytest.raises(ConfigError) as caught:
        workers(rows, layout)
    message = str(caught.value)
    assert message.startswith("a global batch of {} rows".format(rows))
    assert product in message and message.endswith("; " + cure)
