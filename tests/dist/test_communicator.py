# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Horovod as a communicator, between real processes."""

from tests.support import jobs


def test_every_exchange_of_three_workers(tmp_path):
    """Three: reduce_scatter deals unequal rows, and an order of addition shows."""
    result = jobs.launch("communicator.py", tmp_path, workers=3, warm=True).check()
    for worker in range(3):
        said = result.of_worker(worker)
        assert "exchanged horovod" in said
        assert "the communicator 'horovod' has no send: choose one that has it" in said
        assert "the communicator 'horovod' has no receive" in said
        assert "the ranks [0, 2] of 'some' exchange, of 3 workers" in said
