# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients in several calls are those of one device, on two workers.

Some of these run on real processes too: `tests/dist/test_gradients.py`.
"""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.communicators import through_python
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
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


def test_exchanges_that_hold_threads_take_turns(monkeypatch):
    """Of ten tables more exchanges could wait than there are threads, on each worker for others."""
    monkeypatch.setattr(through_python, "_WAITING", 5)
    monkeypatch.setattr(through_python.ThroughPython, "most_waiting", 4)
    ids = np.array([0, 2, 5, 2])

    def fitted(rows):
        fed, hidden = tf.placeholder(tf.int32, [None]), 0.0
        for number in range(10):
            table = tf.get_variable("table_{}".format(number), initializer=np.full(
                [6, 2], 0.1 * number + 0.1, np.float32))
            hidden = tf.tanh(hidden + tf.nn.embedding_lookup(table, fed))
        train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_mean(hidden))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(3):
                session.run(train, {fed: rows})
            return session.run(tf.trainable_variables())

    def work(rank):
        epl.init()
        epl.set_default_strategy(epl.replicate(1))
        found = fitted(ids[2 * rank:2 * rank + 2])
        group, = groups_of(state_of(tf.get_default_graph()))
        return found, [each.op for each in group.collectives]

    with devices.plain():
        expected = fitted(ids)
    for found, ops in loopback.run(work, 2):
        assert len(ops) == 21  # and one for the loss and the number of rows
        assert all(before in behind.control_inputs for before, behind in zip(ops, ops[4:]))
        for value, wanted in zip(found, expected):
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_step_is_of_all_workers_though_an_update_belongs_to_another_loss():
    """Both steps run an update from the batch, which that of the first loss can compute, too."""
    rows = np.arange(1.0, 9.0, dtype=np.float32)

    def work(rank):
        start({"pipeline.num_micro_batch": 2})
        x = tf.placeholder(tf.float32, [None])
        first, second, average = (
            tf.get_variable(name, [], initializer=tf.ones_initializer(), trainable=trainable)
            for name, trainable in [("first", True), ("second", True), ("average", False)])
        losses = [tf.reduce_mean(tf.square(x - w)) for w in (first, second)]
        update = tf.assign(average, 0.5 * average + 0.5 * tf.reduce_mean(x))
        steps = []
        for loss, weight in zip(losses, (first, second)):
            gradients = tf.train.GradientDescentOptimizer(0.25).compute_gradients(loss, [weight])
            with tf.control_dependencies([update]):
                steps.append(tf.train.GradientDescentOptimizer(0.25).apply_gradients(gradients))
        with devices.session() as session:
            own = {x: rows[4 * rank:4 * rank + 4]}
            return [session.run([step, loss], own)[1] for step, loss in zip(steps, losses)]

    for found in loopback.run(work):
        np.testing.assert_allclose(found, [17.5, 17.5], rtol=1e-6)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_what_two_losses_of_one_step_give_together_is_of_all_workers(micro_batches):
    rows = np.array([1, -2, 3, 4, 5, -6, -7, 9], np.float32)

    def fetched(own):
        x = tf.placeholder(tf.float32, [None])
        first, second = (tf.get_variable(name, [], initializer=tf.ones_initializer())
                         for name in ("first", "second"))
        mask = tf.cast(x > 0, tf.float32)
        losses = [tf.reduce_sum(tf.square(x - first) * mask) / tf.reduce_sum(mask),
                  0.01 * tf.reduce_sum(tf.square(x - second))]
        step = tf.group(*[tf.train.GradientDescentOptimizer(0.05).minimize(loss, var_list=[weight])
                          for loss, weight in zip(losses, (first, second))])
        wanted = [tf.add_n(losses), losses[0] / (1.0 + losses[1]), tf.identity(losses[1]),
                  tf.reshape(losses[0], []), tf.cast(losses[0], tf.float64),
                  tf.check_numerics(losses[1], "none"), 2.0 * tf.stop_gradient(losses[0]) + 1.0,
                  tf.cond(losses[0] > 10.0, lambda: 2.0 * losses[0], lambda: 3.0 * losses[1])]
        summary = tf.summary.scalar("total", wanted[0])
        with devices.session() as session:
            found = []
            for _ in range(3):
                values, text, _ = session.run([wanted, summary, step], {x: own})
                found.append(values + [tf.Summary.FromString(text).value[0].simple_value])
            return found

    def work(rank):
        start({"pipeline.num_micro_batch": micro_batches})
        return fetched(rows[4 * rank:4 * rank + 4])

    with devices.plain():
        expected = fetched(rows)
    for found in loopback.run(work):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
