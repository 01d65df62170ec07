# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Both sides of the patterns in docs/migrating.md give the same numbers, on devices of a worker."""

import os

import numpy as np
import pytest

import epl
from tests.graph.devices import Layout, plain, started
from tests.support.migrating import found_by, read_page

PAGE = read_page()
LAYOUTS = [Layout(), Layout(micro_batches=4), Layout(replicas=2, micro_batches=2)]


def has_slim():
    """TensorFlow 2 has it in a package of its own, which the tests do not need otherwise."""
    try:
        from tensorflow.contrib import slim
    except ImportError:
        slim = pytest.importorskip("tf_slim")
    return slim is not None


@pytest.mark.parametrize("title", sorted(PAGE.patterns))
def test_both_sides_give_the_same_numbers(tmp_path, title):
    assert title != "slim" or has_slim()
    before, after = PAGE.patterns[title]
    with plain():
        expected = found_by(PAGE.shared + before, str(tmp_path / "plain"))
    for layout in LAYOUTS:
        with started(layout):
            epl.set_default_strategy(epl.replicate(1))
            start = "import epl\nbatch = epl.global_batch(16)\n"
            found = found_by(PAGE.shared + start + after, str(tmp_path / str(layout)))
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected):
            # Some dozen additions of 32-bit floats in another order, amplified by few steps.
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=str(layout))


def test_the_page_has_all_patterns_and_is_found():
    assert len(PAGE.patterns) == 11
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for page, link in (("README.md", "docs/migrating.md"),
                       ("docs/getting_started.md", "(migrating.md)")):
        with open(os.path.join(root, page), encoding="utf-8") as file:
            assert link in file.read()
