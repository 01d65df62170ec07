# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A thousand cases of every target; `python -m tests.fuzz` runs as many as one likes."""

import pytest

from tests.fuzz.targets import TARGETS
from tests.fuzz.trial import run


@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_refused_in_one_line(name):
    assert run(name, 1, 0, 1000) == []
