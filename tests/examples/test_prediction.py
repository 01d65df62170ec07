# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How workers share what is to be scored."""

import dataclasses

import pytest

from examples.bert.prediction import share
from examples.bert.worker import Worker


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("windows", [0, 1, 8, 9, 41, 64])
def test_every_window_is_scored_once_and_in_the_batches_of_one_worker(number, windows):
    rows, found = list(range(windows)), []
    for index in range(number):
        own = share(rows, 8, dataclasses.replace(Worker(number=number), index=index))
        assert not own or own[0] % 8 == 0
        assert len(own) <= 8 * -(-windows // (8 * number))
        found.extend(own)
    assert found == rows
