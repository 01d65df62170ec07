# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several sessions of one graph: each worker's steps belong to one of them."""

import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.env import Env
from epl.errors import ConfigError
from tests.support import loopback


def model():
    """(what it is fed, weight, step): the weight goes half the way to the mean of x."""
    epl.init()
    epl.set_default_strategy(epl.replicate(1))
    x = tf.placeholder(tf.float32, [None])
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    loss = tf.reduce_mean(tf.square(x - weight))
    return x, weight, tf.train.GradientDescentOptimizer(0.25).minimize(loss)


def in_turn(rank, turns, again=()):
    """Weights of two sessions trained on 1 and on 10, in this order on each worker.

    Args:
      turns: the numbers of sessions for each worker.
      again: workers that make their first session anew in the middle.
    """
    x, weight, step = model()
    two = [tf.Session(), tf.Session()]

    def begin(session):
        session.run(weight.initializer)
        return session

    for session in two:
        begin(session)
    for place, number in enumerate(turns[rank]):
        if place == 2 and rank in again:
            two[0].close()
            two[0] = begin(tf.Session())
        two[number].run(step, {x: np.full(4, [1.0, 10.0][number])})
    return [float(session.run(weight)) for session in two]


def test_sessions_in_the_same_order_are_trained_each_by_itself():
    found = loopback.run(lambda rank: in_turn(rank, [[0, 1, 1, 0]] * 2))
    assert found == [[0.75, 7.5]] * 2


def test_sessions_that_come_in_another_order_are_refused():
    """Their steps were mixed: the weights came to 1.875 and 6.375, without a word."""
    for error in loopback.outcomes(lambda rank: in_turn(rank, [[0, 1, 0, 1], [0, 1, 1, 0]])):
        assert "in session 2" in str(error)


def test_a_session_that_one_worker_makes_anew_takes_the_place_of_the_old_one():
    """It gets the chief's variables, as ever."""
    found = loopback.run(lambda rank: in_turn(rank, [[0, 1, 0, 1]] * 2, again=[1]))
    assert found == [[0.75, 7.5]] * 2


def test_a_second_session_where_others_have_their_first_is_refused():
    for error in loopback.outcomes(lambda rank: in_turn(rank, [[0, 0], [0, 1]])):
        assert isinstance(error, ConfigError)
        assert "one comes with a second, others with their first" in str(error)


def in_threads(rank, together):
    """Train a session in each of two threads, at the same time or one after the other."""
    x, weight, step = model()
    graph, env, weights, errors = tf.get_default_graph(), Env.get(), [], []
    begun, done = threading.Event(), threading.Event()

    def work(value, waits, tells):
        try:
            with env.in_force(), graph.as_default(), tf.Session() as session:
                session.run(weight.initializer)
                if waits is not None:
                    waits.wait(loopback.SECONDS)
                session.run(step, {x: np.full(4, value)})
                weights.append(float(session.run(weight)))
                if tells is not None:
                    tells.set()
                    done.wait(loopback.SECONDS)
        except Exception as error:
            errors.append(error)

    first = threading.Thread(target=work, args=(1.0, None, begun if together else None))
    first.start()
    if not together:
        first.join(loopback.SECONDS)
    second = threading.Thread(target=work, args=(10.0, begun if together else None, None))
    second.start()
    second.join(loopback.SECONDS)
    done.set()
    first.join(loopback.SECONDS)
    if errors:
        raise errors[0]
    return weights


def test_sessions_of_one_graph_in_threads_are_refused():
    for error in loopback.outcomes(lambda rank: in_threads(rank, True)):
        assert isinstance(error, ConfigError)
        assert "they are trained in several threads" in str(error)


def test_sessions_one_after_the_other_in_threads_are_trained():
    assert loopback.run(lambda rank: in_threads(rank, False)) == [[0.5, 5.0]] * 2


@pytest.mark.parametrize("closes", [True, False])
def test_many_sessions_one_after_the_other_are_trained(closes):
    def body(rank):
        x, weight, step = model()
        found = []
        for value in (1.0, 2.0, 3.0):
            session = tf.Session()
            session.run(weight.initializer)
            session.run(step, {x: np.full(4, value)})
            found.append(float(session.run(weight)))
            if closes or rank:  # one worker may keep what others have closed
                session.close()
        return found

    assert loopback.run(body) == [[0.5, 1.0, 1.5]] * 2
