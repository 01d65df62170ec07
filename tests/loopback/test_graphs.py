# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Graphs of the same names, trained in threads: each worker's steps belong to one of them."""

import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.env import Env
from epl.errors import ConfigError, WorkerLostError
from tests.support import loopback

STEPS = 3


def model(factor, scope=None):
    """(what it is fed, weight, step): the weight goes half the way to the mean of factor * x."""
    with tf.variable_scope(scope or tf.get_variable_scope()):
        x = tf.placeholder(tf.float32, [None])
        weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.square(factor * x - weight))
    return x, weight, tf.train.GradientDescentOptimizer(0.25).minimize(loss)


def trained(rank, factors, turns, scopes=False):
    """Train a model for each factor in a thread of its own.

    Args:
      turns: the numbers of the models, in the order in which they are to take their steps.

    Returns:
      (weights, what the threads raised), in the order of the models.
    """
    epl.init()
    env, turn, order = Env.get(), threading.Condition(), list(turns)
    weights, errors = [None] * len(factors), [None] * len(factors)

    def work(number):
        with env.in_force(), tf.Graph().as_default(), tf.Session() as session:
            epl.set_default_strategy(epl.replicate(1))
            x, weight, step = model(factors[number], "scope_{}".format(number) if scopes else None)
            session.run(tf.global_variables_initializer())
            for _ in range(turns.count(number)):
                with turn:
                    turn.wait_for(lambda: not order or order[0] == number)
                    if not order:
                        return  # another thread has failed
                session.run(step, {x: np.full(4, 1.0 + rank)})
                with turn:
                    order.pop(0)
                    turn.notify_all()
            weights[number] = float(session.run(weight))

    def run(number):
        try:
            work(number)
        except Exception as error:
            errors[number] = error
            with turn:
                order.clear()
                turn.notify_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(factors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(loopback.SECONDS)
    return weights, errors


def raised(found):
    """What the threads of each worker raised; not only one worker's did."""
    errors = [next(error for error in of_threads if error) for _, of_threads in found]
    assert len(errors) == 2
    return errors


def test_graphs_that_take_turns_in_one_order_are_trained_each_by_itself():
    for weights, errors in loopback.run(lambda rank: trained(rank, (1.0, 2.0), [0, 1] * STEPS)):
        assert errors == [None, None]
        np.testing.assert_allclose(weights, np.array([1.5, 3.0]) * (1 - 0.5 ** STEPS))


@pytest.mark.parametrize("factors", [(1.0, 2.0), (1.0, 1.0)])
def test_graphs_that_come_in_another_order_are_refused(factors):
    def body(rank):
        return trained(rank, factors, [0, 1, 0, 1] if rank == 0 else [1, 0, 1, 0])

    for error in raised(loopback.run(body)):
        assert isinstance(error, ConfigError)
        assert "another order" in str(error) and "tf.variable_scope of its own" in str(error)


def test_graphs_that_come_in_another_order_later_are_refused():
    def body(rank):
        return trained(rank, (1.0, 2.0), [0, 1] + ([0, 1] if rank == 0 else [1, 0]))

    for error in raised(loopback.run(body)):
        assert isinstance(error, WorkerLostError) and "of graph 2" in str(error)
        assert "turns in an order that all keep" in str(error)


def test_equal_graphs_one_after_the_other_in_threads_need_no_names():
    """As folds of a cross-validation; the old graph is still there."""
    def body(rank):
        epl.init()
        env, kept, found = Env.get(), [], []

        def fold():
            with env.in_force(), tf.Graph().as_default() as graph, tf.Session() as session:
                kept.append(graph)
                epl.set_default_strategy(epl.replicate(1))
                x, weight, step = model(1.0)
                session.run(tf.global_variables_initializer())
                session.run(step, {x: np.full(4, 1.0 + rank + len(kept))})
                found.append(float(session.run(weight)))

        for _ in range(2):
            thread = threading.Thread(target=fold)
            thread.start()
            thread.join(loopback.SECONDS)
        return found

    assert loopback.run(body) == [[1.25, 1.75]] * 2
