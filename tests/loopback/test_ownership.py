# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who holds a variable is one record: what it says is done wherever it matters.

A pass of the test's says that pairs of workers hold one variable apart. Each pair then trains its
own value of it on its own rows, and everything else on the rows of all four.
"""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import all_workers
from epl.errors import RewriteError
from epl.ir.graph_state import state_of
from epl.ir.ownership import Ownership, ownership_of
from epl.rewrite import passes, verify
from epl.rewrite.groups import groups_of
from epl.rewrite.passes import FAMILY, PASSES, Pass
from epl.runtime import fingerprint
from tests.dist.jobs.common import start
from tests.support import loopback

PAIRS = [(0, 1), (2, 3)]
STEPS = 4
RATE = 0.1
random = np.random.RandomState(3)
ROWS = random.randn(8, 3).astype(np.float32)
LABELS = random.randn(8, 1).astype(np.float32)


def hold_in_pairs(rewriting, family):
    ownership = ownership_of(rewriting.graph)
    for gradient in family[0].gradients:
        if gradient.variable.op.name == "expert":
            ownership.divide(compat.variable_key(gradient.variable), PAIRS)


@pytest.fixture
def in_pairs():
    before = list(PASSES)
    passes.insert(Pass("pairs", "lets pairs of workers hold the expert", FAMILY, hold_in_pairs),
                  before="aggregate")
    yield
    PASSES[:] = before


def build(x, y, weights, experts, resource):
    """The mean over all rows, of which each expert gets an equal part; and the variables."""
    weight = tf.get_variable("weight", initializer=weights, use_resource=resource)
    losses, variables = [], [weight]
    for name, value, rows, labels in zip(("expert", "other"), experts, x, y):
        expert = tf.get_variable(name, initializer=value, use_resource=resource)
        variables.append(expert)
        hidden = tf.tanh(tf.matmul(rows, weight))
        losses.append(tf.reduce_mean(tf.square(tf.matmul(hidden, expert) - labels)))
    return losses, variables


def first_values(seed):
    draw = np.random.RandomState(seed)
    return draw.randn(3, 4).astype(np.float32), draw.randn(4, 1).astype(np.float32)


def worker(rank, resource, then=lambda session, variables: None):
    """Train; what each worker begins with differs. Losses and variables of every step."""
    start()
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
    weight, expert = first_values(rank)
    (loss,), variables = build([x], [y], weight, [expert], resource)
    step = tf.train.GradientDescentOptimizer(RATE).minimize(loss)
    own = slice(2 * rank, 2 * rank + 2)
    found = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            value, _ = session.run([loss, step], {x: ROWS[own], y: LABELS[own]})
            found.append((value, session.run(variables)))
        then(session, variables)
    return found


def one_device(resource):
    """Both experts in one process: the mean of their losses; each learns from its own."""
    weight, expert = first_values(0)
    x = [tf.constant(ROWS[:4]), tf.constant(ROWS[4:])]
    y = [tf.constant(LABELS[:4]), tf.constant(LABELS[4:])]
    losses, variables = build(x, y, weight, [expert, first_values(2)[1]], resource)
    whole = tf.add_n(losses) / 2
    gradients = tf.gradients(whole, variables[:1]) + [
        tf.gradients(loss, [v])[0] for loss, v in zip(losses, variables[1:])]
    with tf.control_dependencies(gradients):
        step = tf.train.GradientDescentOptimizer(RATE).apply_gradients(zip(gradients, variables))
    found = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            value, _ = session.run([whole, step])
            found.append((value, session.run(variables)))
    return found


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_each_pair_trains_the_value_that_it_holds(in_pairs, resource):
    workers = loopback.run(lambda rank: worker(rank, resource), workers=4)
    with tf.Graph().as_default():
        expected = one_device(resource)
    for rank, found in enumerate(workers):
        for (loss, (weight, expert)), (whole, (shared, *experts)) in zip(found, expected):
            # Four float32 sums in another order.
            np.testing.assert_allclose(loss, whole, rtol=1e-5)
            np.testing.assert_allclose(weight, shared, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(expert, experts[rank // 2], rtol=1e-5, atol=1e-6)
    assert np.abs(workers[0][-1][1][1] - workers[2][-1][1][1]).max() > 1e-2


def test_the_chief_does_not_save_a_value_that_others_hold_too(in_pairs, tmp_path):
    path = str(tmp_path / "model")

    def save(session, variables):
        tf.train.Saver(variables[:1]).save(session, path)
        with pytest.raises(NotImplementedError, match="'expert:0' is held alike on workers 0, 1 "
                           r"\| 2, 3: the chief.*var_list"):
            tf.train.Saver().save(session, path)

    loopback.run(lambda rank: worker(rank, True, save), workers=4)
    assert [name for name, _ in tf.train.list_variables(path)] == ["weight"]


def test_workers_compare_who_holds_what(in_pairs):
    def look(session, variables):
        graph = session.graph
        lines = fingerprint._lines(graph, state_of(graph))
        assert "variable expert:0 float32 (4, 1), alike on workers 0, 1 | 2, 3" in lines
        assert "variable weight:0 float32 (3, 4), alike on all workers" in lines

    loopback.run(lambda rank: worker(rank, True, look), workers=4)


def test_a_gradient_that_others_than_the_holders_reduced_is_found(in_pairs):
    def look(session, variables):
        graph = session.graph
        group, = groups_of(state_of(graph))
        verify.verify_collectives(group, state_of(graph).known_plan, ownership_of(graph))
        ownership_of(graph).divide(compat.variable_key(variables[1]), [(0, 1, 2, 3)])
        with pytest.raises(RewriteError, match="without being reduced over workers 0, 1, 2, 3"):
            verify.verify_collectives(group, state_of(graph).known_plan, ownership_of(graph))

    loopback.run(lambda rank: worker(rank, True, look), workers=4)


@pytest.mark.parametrize("groups", [[(0, 1)], [(0, 1), (1, 2, 3)], [(0, 1), (2, 3, 4)], []])
def test_every_worker_is_in_one_group(groups):
    with tf.Graph().as_default():
        variable = tf.get_variable("v", [])
    with pytest.raises(ValueError, match=r"'v' cannot be held by .*0, 1, 2, 3 has to be in one"):
        Ownership(all_workers(4), 0).divide(variable.op, groups)


def test_unless_said_otherwise_all_hold_a_variable_alike():
    with tf.Graph().as_default():
        variable = tf.get_variable("v", []).op
    ownership = Ownership(all_workers(4), 3)
    assert ownership.group(variable) == all_workers(4) and not ownership.is_divided(variable)
    ownership.divide(variable, PAIRS)
    assert ownership.group(variable).ranks == (2, 3)
    assert [g.ranks for g in ownership.groups(variable)] == PAIRS
    ownership.divide(variable, [range(4)])
    assert ownership.group(variable) == all_workers(4)
