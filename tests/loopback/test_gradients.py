# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients in several calls are those of one device, on two workers.

Some of these run on real processes too: `tests/dist/test_gradients.py`.
"""

import pytest
import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import start
from tests.dist.jobs.gradients import share
from tests.graph import devices
from tests.graph.test_chain_rule_by_hand import (
    FEATURES,
    SCRIPTS,
    Model,
    check_variables,
    trained,
)
from tests.support import loopback


@pytest.mark.parametrize("reduce, resource", [("mean", False), ("sum", True)])
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_gradients_in_several_calls_are_those_of_one_device(name, reduce, resource):
    def work(rank):
        _, workers = start({"communication.gradients_reduce_method": reduce})
        tf.set_random_seed(11)  # as the reference has it
        rows = share(len(FEATURES), rank, workers)
        return SCRIPTS[name](Model(devices.stages(None), reduce, resource, rows))

    expected = trained(None, name, reduce, resource)
    for found in loopback.run(work):
        check_variables(found, expected)
