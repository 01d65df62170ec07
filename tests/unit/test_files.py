# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which files of a list a worker reads."""

import pytest

from epl.errors import ConfigError
from epl.plan.files import share


@pytest.mark.parametrize("count, workers, options, expected", [
    (4, 2, {}, [[0, 2], [1, 3]]),
    (3, 3, {}, [[0], [1], [2]]),
    (7, 3, {"unequal": True}, [[0, 3, 6], [1, 4], [2, 5]]),
    (7, 3, {"drop_last": True}, [[0, 3], [1, 4], [2, 5]]),
    (6, 3, {"unequal": True}, [[0, 3], [1, 4], [2, 5]]),
    (6, 3, {"unequal": True, "drop_last": True}, [[0, 3], [1, 4], [2, 5]]),
    (5, 1, {}, [[0, 1, 2, 3, 4]]),
])
def test_shares(count, workers, options, expected):
    assert [share(count, worker, workers, **options) for worker in range(workers)] == expected


@pytest.mark.parametrize("count, workers, options, message", [
    (2, 3, {}, "a list of 2 file(s) for 3 workers.*at most 2 worker"),
    (2, 3, {"unequal": True}, "2 file(s) for 3"),
    (0, 1, {}, "0 file(s) for 1 workers"),
    (7, 3, {}, "7 files for 3 workers leaves 1 over.*io.drop_last_files = True.*multiple of 3"),
    (7, 3, {"unequal": True, "drop_last": True}, "not both"),
])
def test_lists_that_cannot_be_divided(count, workers, options, message):
    with pytest.raises(ConfigError, match=message.replace("(s)", r"\(s\)")):
        share(count, 0, workers, **options)
