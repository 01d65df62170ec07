# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every communicator has to give, checked from within each worker."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.communicators.base import MAX, MEAN, SUM
from epl.rewrite.walk import ancestors

ROWS = 5  # of what is reduced and scattered; no multiple of 2 or 3


def of_worker(rank, dtype=np.float32):
    """[5, 2], exact in all types that are added up here."""
    return (np.arange(2 * ROWS).reshape(ROWS, 2) + 16 * rank).astype(dtype)


def check_in_graph(communicator):
    """Every exchange in a graph, their records and their shapes."""
    rank, group = communicator.rank, communicator.group
    every = [of_worker(other) for other in group.ranks]
    begin = sum(ROWS // group.size + (r < ROWS % group.size) for r in range(rank))
    rows = ROWS // group.size + (rank < ROWS % group.size)
    own = slice(begin, begin + rows)
    with tf.Graph().as_default():
        fed = tf.placeholder(tf.float32, [ROWS, 2], "fed")
        some = tf.placeholder(tf.int64, [None, 2], "some")
        half = tf.cast(fed, tf.bfloat16)
        wide, any_shape = tf.placeholder(tf.float32, [None, None]), tf.placeholder(tf.float32)
        built = {
            "all_reduce/sum": (communicator.all_reduce(fed, "sum", group), sum(every)),
            "all_reduce/mean": (communicator.all_reduce(fed, "mean", group, MEAN),
                                np.mean(every, 0)),
            "all_reduce/max": (communicator.all_reduce(some, "max", group, MAX),
                               of_worker(group.size - 1, np.int64)),
            "all_gather/rows": (communicator.all_gather(some[:rank + 1], "rows", group),
                                np.concatenate([x[:r + 1] for r, x in enumerate(every)])),
            "broadcast/chief": (communicator.broadcast(fed, "chief", group), every[0]),
            "all_reduce/wide": (communicator.all_reduce(wide, "wide_sum", group), sum(every)),
            "all_reduce/any": (communicator.all_reduce(any_shape, "any_sum", group), sum(every)),
            "all_gather/wide": (communicator.all_gather(wide[:rank], "wide", group),
                                np.concatenate([x[:r] for r, x in enumerate(every)])),
            "all_gather/none": (communicator.all_gather(wide[:0], "none", group), every[0][:0]),
            "broadcast/wide": (communicator.broadcast(wide, "wide_chief", group), every[0]),
            "broadcast/any": (communicator.broadcast(any_shape, "any_chief", group), every[0]),
            "broadcast/rows": (communicator.broadcast(some, "rows_chief", group), every[0]),
            "reduce_scatter/sum": (communicator.reduce_scatter(fed, "own", group, SUM),
                                   sum(every)[own]),
            "reduce_scatter/mean": (communicator.reduce_scatter(fed, "own_mean", group, MEAN),
                                    np.mean(every, 0)[own]),
            "reduce_scatter/short": (communicator.reduce_scatter(half, "own_half", group),
                                     sum(every)[own]),
        }
        with pytest.raises(ValueError, match="no rows"):
            communicator.reduce_scatter(tf.constant(1.0), "number", group)
        exchanges = set(filter(communicator.is_collective, tf.get_default_graph().get_operations()))
        for name, ((tensor, record), expected) in built.items():
            behind = ancestors([tensor.op], exchanges)
            assert not behind & {fed.op, some.op, wide.op, any_shape.op}, (
                name + " follows from more than was exchanged")
            assert record.kind == name.split("/")[0] and record.group == group
            assert communicator.is_collective(record.op) and not communicator.is_collective(fed.op)
            same = record.kind in ("all_reduce", "all_gather")
            assert communicator.combines(record.op) == same
            assert tensor.shape.is_compatible_with(expected.shape)
            assert tensor.shape.is_fully_defined() == (
                not set(name.split("/")) & {"max", "rows", "wide", "none", "any"})
        assert built["reduce_scatter/short"][0][0].dtype == tf.bfloat16
        assert built["all_reduce/sum"][0][1].describe() == "all_reduce sum float32[5, 2]"
        taken = tf.placeholder(tf.bool, [])
        other, branch = tf.raw_ops.Switch(data=fed, pred=taken)
        sent, _ = communicator.broadcast(branch, "branch", group)
        merged = tf.raw_ops.Merge(inputs=[other, sent]).output
        config = tf.ConfigProto()
        communicator.prepare_session(config)
        with tf.Session(config=config) as session:
            for _ in range(2):  # they meet again under the same names
                found = session.run({n: result[0] for n, (result, _) in built.items()},
                                    {fed: of_worker(rank), some: of_worker(rank, np.int64),
                                     wide: of_worker(rank), any_shape: of_worker(rank)})
                for name, (_, expected) in built.items():
                    np.testing.assert_allclose(found[name].astype(np.float32), expected, rtol=1e-6,
                                               err_msg=name)
            for yes in (False, True, False):  # where a branch is not taken, nobody exchanges
                found, _ = session.run([merged, built["all_reduce/sum"][0][0]],
                                       {taken: yes, fed: of_worker(rank)})
                np.testing.assert_array_equal(found, every[0 if yes else rank])


def check_outside(communicator):
    """Every exchange of the workers' Python code."""
    rank, size = communicator.rank, communicator.group.size
    assert communicator.size == size and communicator.is_connected
    assert communicator.all_reduce_max([rank, -rank, 2 ** 40 + rank]) == [
        size - 1, 0, 2 ** 40 + size - 1]
    assert communicator.all_reduce_max([rank], seconds=60.0) == [size - 1]
    value = {"rank": rank, "rows": np.arange(rank + 2)}
    for other, found in enumerate(communicator.all_gather_object(value)):
        assert found["rank"] == other
        np.testing.assert_array_equal(found["rows"], np.arange(other + 2))
    assert communicator.broadcast_object("from {}".format(rank)) == "from 0"
    assert communicator.broadcast_object(None) is None
