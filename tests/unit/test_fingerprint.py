# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A difference between the workers' programs is shown as its first line and who is on each side."""

import pytest

from epl.runtime.fingerprint import first_difference


def test_first_difference_names_line_and_workers():
    text = first_difference([["a", "b 1", "c"], ["a", "b 2", "d"], ["a", "b 1", "c"]])
    assert "worker(s) 0, 2: b 1" in text
    assert "worker(s) 1: b 2" in text
    assert "c" not in text.split("Start all")[0].split("difference:")[1]


def test_a_shorter_program_differs_where_it_ends():
    assert "worker(s) 1: (nothing)" in first_difference([["a", "b"], ["a"]])


def test_equal_programs_have_no_difference():
    with pytest.raises(ValueError):
        first_difference([["a"], ["a"]])
