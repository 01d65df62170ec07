# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Both sides of the patterns in docs/migrating.md give the same numbers, on two workers."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.graph.devices import plain
from tests.graph.test_migrating import has_slim
from tests.support import jobs
from tests.support.migrating import found_by, read_page

PAGE = read_page()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each worker found: title -> values."""
    directory = tmp_path_factory.mktemp("migrating")
    titles = [title for title in PAGE.patterns if is_there(title)]
    result = jobs.launch("migrating.py", directory / "logs", directory / "shared", *titles,
                         warm=True).check()
    reports = []
    for worker in range(2):
        with open(result.path(worker, "report.json")) as file:
            reports.append(json.load(file))
    return reports


def is_there(title):
    """Whether this TensorFlow has what a pattern shows; the job of all patterns needs it."""
    if title == "Estimator":
        return hasattr(tf, "estimator")
    try:
        return title != "slim" or has_slim()
    except pytest.skip.Exception:
        return False


@pytest.mark.parametrize("title", sorted(PAGE.patterns))
def test_both_sides_give_the_same_numbers(found, tmp_path, title):
    assert title != "slim" or has_slim()
    with plain():
        expected = found_by(PAGE.shared + PAGE.patterns[title][0], str(tmp_path))
    for own in found:
        assert len(own[title]) == len(expected) > 0
        for one, other in zip(own[title], expected):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
