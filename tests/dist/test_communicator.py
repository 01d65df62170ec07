# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The communicators between real processes."""

import pytest

from tests.support import jobs


@pytest.mark.parametrize("name", ["horovod", "native", "shared_memory"])
def test_every_exchange_of_three_workers(tmp_path, name):
    """Three: reduce_scatter deals unequal rows, and an order of addition shows."""
    result = jobs.launch("communicator.py", tmp_path, workers=3, warm=True,
                         environment={"EPL_COMMUNICATION_COMMUNICATOR": name}).check()
    for worker in range(3):
        said = result.of_worker(worker)
        assert "exchanged " + name in said
        if name != "shared_memory":
            assert "the communicator '{}' has no send: choose one that has".format(name) in said
            assert "the communicator '{}' has no receive".format(name) in said
        if name == "horovod":
            assert "the ranks [0, 2] of 'some' exchange, of 3 workers" in said
