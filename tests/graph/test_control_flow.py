# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Branches and loops, in each other, train as on one device with the whole batch.

By default every block of `tests.support.control_flow` is trained in each of two stages, and some
random ones. All blocks on all layouts, with both versions of control flow and both kinds of
variables, and 50 random ones (about an hour):

    EPL_CONTROL_FLOW=50 scripts/test.sh tf1 tests/graph/test_control_flow.py
"""

import contextlib
import os

import pytest
import tensorflow.compat.v1 as tf

from tests.graph.devices import Layout, assert_same, control_flow_v2, run, session
from tests.support import control_flow
from tests.support.control_flow import BLOCKS, ONLY_V1, ONLY_V2

LAYOUTS = (Layout(1, 1, 4), Layout(2, 1, 2), Layout(1, 2, 1), Layout(2, 2, 2))
MORE = int(os.environ.get("EPL_CONTROL_FLOW", "0"))
# TensorFlow 1.15 cannot differentiate a tf.cond in a tf.while_loop that reads a resource variable.
RESOURCE_IN_LOOPS = not tf.version.VERSION.startswith("1.")


def cases():
    """(version of control flow, names of the blocks of two stages, layout, resource)."""
    found = []
    for version, without in (1, ONLY_V2), (2, ONLY_V1):
        names = sorted(set(BLOCKS) - without)
        for number, name in enumerate(names):
            if MORE:
                found += [(version, (name, name), layout, resource) for layout in LAYOUTS
                          for resource in (False, True)]
            elif version == 1 or number % 4 == 0 or name in ONLY_V2:
                pair = name, names[(number + 1) % len(names)]
                found.append((version, pair, LAYOUTS[number % 4], number % 3 == 0))
    return found


def name_of(case):
    return str(case) if isinstance(case, (int, bool, Layout)) else "-".join(case)


def check(blocks, layout, version, resource):
    def script(stage):
        return control_flow.train(blocks, stage, session, resource)

    with control_flow_v2() if version == 2 else contextlib.nullcontext():
        assert_same(run(layout, script), run(None, script))


@pytest.mark.parametrize("version, names, layout, resource", cases(), ids=name_of)
def test_equals_one_device(version, names, layout, resource):
    if version == 1 and not RESOURCE_IN_LOOPS:
        resource = False
    check([BLOCKS[name] for name in names], layout, version, resource)


@pytest.mark.parametrize("seed", range(MORE or 4))
def test_random_control_flow_equals_one_device(seed):
    blocks = [control_flow.random_block(2 * seed + number) for number in range(2)]
    check(blocks, LAYOUTS[seed % 4], 1, RESOURCE_IN_LOOPS and seed % 3 == 0)
