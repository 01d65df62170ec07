# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small models full of control flow, for `tests/graph/test_control_flow.py`.

A block maps rows [n, WIDTH] to rows, each row by itself, so that a model means the same whether it
sees the batch at once or in parts. Which branch a `tf.cond` takes is the same for all rows or
decided for each.
"""

import zlib
from typing import Any, Callable, Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

WIDTH = 3
ROWS = 8
STEPS = 3

BLOCKS: Dict[str, Callable[..., Any]] = {}
# Blocks that plain TensorFlow cannot differentiate with that version of control flow.
ONLY_V1 = {"assert_in_loop_in_branch", "loop_in_branch_in_loop", "raw_rnn"}
ONLY_V2 = {"penalty_of_a_loop"}


class Inputs(NamedTuple):
    """What a block gets beside its rows.

    Attributes:
      name: start of the names of its variables.
      flag: a scalar that is fed, another one in every step.
    """

    name: str
    flag: Any


def block(function):
    BLOCKS[function.__name__] = function
    return function


def variable(name, shape=(WIDTH, WIDTH)):
    seed = zlib.crc32(name.encode()) % 2 ** 31
    return tf.get_variable(name, list(shape), initializer=tf.random_uniform_initializer(
        -0.7, 0.9, seed=seed))


def dense(hidden, name):
    return tf.tanh(tf.matmul(hidden, variable(name)))


def always(hidden):
    """True, but no graph optimizer knows."""
    return tf.reduce_mean(hidden) > -100.0


def never(hidden):
    return tf.reduce_mean(hidden) < -100.0


def row(number):
    return tf.constant(number, shape=[1, WIDTH])


# Branches.

@block
def constant_is_not_taken(hidden, given):
    return tf.cond(always(hidden), lambda: dense(hidden, given.name), lambda: row(7.0))


@block
def constant_comes_first(hidden, given):
    return tf.cond(never(hidden), lambda: row(7.0), lambda: dense(hidden, given.name))


@block
def constant_of_all_rows(hidden, given):
    return tf.cond(always(hidden), lambda: dense(hidden, given.name),
                   lambda: tf.fill(tf.shape(hidden), 7.0))


@block
def constants_alone(hidden, given):
    factor = tf.cond(given.flag, lambda: tf.constant(0.5), lambda: tf.constant(2.0))
    other = tf.cond(always(hidden), lambda: tf.constant(0.5), lambda: tf.constant(2.0))
    return dense(hidden * factor, given.name) * other


@block
def variables(hidden, given):
    kernel, scale = variable(given.name), variable(given.name + "_scale", (WIDTH,))
    return tf.cond(given.flag, lambda: tf.matmul(hidden, kernel), lambda: hidden * scale)


@block
def only_a_variable(hidden, given):
    scale, other = variable(given.name, (WIDTH,)), variable(given.name + "_other", (WIDTH,))
    return hidden * tf.cond(always(hidden), lambda: scale, lambda: tf.ones([WIDTH])) \
        + tf.cond(given.flag, lambda: other, lambda: scale)


@block
def outer_tensors(hidden, given):
    outer = dense(hidden, given.name)
    return tf.cond(given.flag, lambda: hidden, lambda: outer)


@block
def several_results(hidden, given):
    kernel = variable(given.name)
    one, two, three = tf.cond(
        given.flag, lambda: (tf.matmul(hidden, kernel), tf.constant(1.0), hidden),
        lambda: (hidden, tf.reduce_sum(kernel), tf.sin(hidden)))
    return one * two + three


@block
def condition_in_its_branch(hidden, given):
    taken = always(hidden)
    return tf.cond(taken, lambda: dense(hidden, given.name) * tf.cast(taken, tf.float32),
                   lambda: row(7.0) + tf.cast(taken, tf.float32))


@block
def branch_in_branch(hidden, given):
    kernel = variable(given.name)

    def outer():
        return tf.cond(given.flag, lambda: tf.matmul(hidden, kernel), lambda: tf.sin(hidden) + 0.5)
    return tf.cond(always(hidden), outer, lambda: 2.0 * tf.matmul(hidden, kernel))


@block
def constants_at_every_depth(hidden, given):
    def inner():
        return tf.cond(never(hidden), lambda: row(5.0), lambda: dense(hidden, given.name))

    def middle():
        return tf.cond(always(hidden), inner, lambda: row(6.0))
    return tf.cond(never(hidden), lambda: row(7.0), middle)


@block
def case(hidden, given):
    kernel = variable(given.name)
    return tf.case([(never(hidden), lambda: row(7.0)),
                    (given.flag, lambda: tf.matmul(hidden, kernel))], default=lambda: hidden * 0.5)


@block
def case_by_default(hidden, given):
    kernel = variable(given.name)
    return tf.case([(never(hidden), lambda: row(7.0)), (never(hidden * 2.0), lambda: row(6.0))],
                   default=lambda: tf.matmul(hidden, kernel))


@block
def switch_case(hidden, given):
    kernel = variable(given.name)
    return tf.switch_case(tf.cast(given.flag, tf.int32), {
        0: lambda: tf.matmul(hidden, kernel), 1: lambda: tf.sin(hidden)}, default=lambda: row(7.0))


@block
def lookup_in_branch(hidden, given):
    table = variable(given.name, (5, WIDTH))
    ids = tf.cast(tf.floor(tf.sigmoid(hidden[:, 0]) * 5.0), tf.int32)
    return hidden + tf.cond(given.flag, lambda: tf.nn.embedding_lookup(table, ids),
                            lambda: tf.zeros([1, WIDTH]))


@block
def stopped_gradient(hidden, given):
    return hidden + tf.cond(given.flag, lambda: tf.stop_gradient(dense(hidden, given.name)),
                            lambda: dense(hidden, given.name + "_other"))


@block
def asserted(hidden, given):
    with tf.control_dependencies([tf.assert_less(hidden, 1e9)]):
        return dense(hidden, given.name)


@block
def branch_of_each_row(hidden, given):
    kernel = variable(given.name)
    return tf.map_fn(lambda r: tf.cond(r[0] > 0.0, lambda: tf.reduce_sum(r * kernel, 1),
                                       lambda: tf.constant(0.25, shape=[WIDTH])), hidden)


# Loops and branches.

def repeated(count, step, hidden, **options):
    """`step(number, hidden)`, `count` times over."""
    return tf.while_loop(lambda n, _: n < count, lambda n, h: (n + 1, step(n, h)),
                         [tf.constant(0), hidden], **options)[1]


@block
def branch_in_loop(hidden, given):
    kernel = variable(given.name)
    return repeated(3, lambda n, h: tf.cond(
        tf.equal(n, 1), lambda: tf.tanh(tf.matmul(h, kernel)),
        lambda: h * tf.constant(1.1)), hidden)


@block
def constant_in_loop(hidden, given):
    kernel = variable(given.name)
    return repeated(2, lambda n, h: tf.tanh(tf.matmul(h, kernel)) + tf.cond(
        n > 0, lambda: tf.constant(0.25), lambda: tf.constant(-0.5)), hidden)


@block
def loop_in_branch(hidden, given):
    kernel = variable(given.name)
    return tf.cond(
        always(hidden),
        lambda: repeated(2, lambda n, h: tf.tanh(tf.matmul(h, kernel)), hidden), lambda: row(7.0))


@block
def loop_in_either_branch(hidden, given):
    kernel = variable(given.name)
    return tf.cond(
        given.flag, lambda: repeated(2, lambda n, h: tf.tanh(tf.matmul(h, kernel)), hidden),
        lambda: repeated(3, lambda n, h: tf.sin(h) + tf.reduce_sum(kernel) * 0.1, hidden))


@block
def loop_in_branch_in_loop(hidden, given):
    kernel = variable(given.name)

    def step(number, h):
        return tf.cond(number > 0, lambda: repeated(
            2, lambda n, v: tf.tanh(tf.matmul(v, kernel)), h), lambda: h * 0.9)
    return repeated(2, step, hidden)


@block
def assert_in_loop_in_branch(hidden, given):
    kernel = variable(given.name)

    def step(number, h):
        with tf.control_dependencies([tf.assert_less(h, 1e9)]):
            return tf.tanh(tf.matmul(h, kernel))
    return tf.cond(given.flag, lambda: repeated(2, step, hidden), lambda: hidden)


# Loops in loops.

@block
def loop_in_loop(hidden, given):
    kernel = variable(given.name)
    return repeated(2, lambda number, h: repeated(
        number + 1, lambda n, v: tf.tanh(tf.matmul(v, kernel)), h) + 0.1, hidden)


@block
def three_loops(hidden, given):
    kernel, scale = variable(given.name), variable(given.name + "_scale", (WIDTH,))

    def inner(number, h):
        return repeated(2, lambda n, v: tf.tanh(tf.matmul(v, kernel)), h * scale)
    return repeated(2, lambda number, h: repeated(2, inner, h), hidden)


@block
def branch_in_inner_loop(hidden, given):
    kernel = variable(given.name)

    def inner(number, h):
        return tf.cond(number > 0, lambda: tf.tanh(tf.matmul(h, kernel)),
                       lambda: h + tf.constant(0.5, shape=[1, WIDTH]))
    return repeated(2, lambda number, h: tf.cond(
        tf.equal(number, 0), lambda: repeated(2, inner, h), lambda: tf.sin(h)), hidden)


@block
def two_inner_loops(hidden, given):
    kernel = variable(given.name)

    def step(number, h):
        first = repeated(2, lambda n, v: tf.tanh(tf.matmul(v, kernel)), h)
        return first + repeated(2, lambda n, v: tf.sin(v), h * tf.reduce_sum(kernel))
    return repeated(2, step, hidden, parallel_iterations=1, swap_memory=True)


@block
def fold_in_map(hidden, given):
    kernel = variable(given.name)
    return tf.map_fn(lambda r: tf.foldl(
        lambda a, _: tf.tanh(a + tf.reduce_sum(r * kernel, 1)), tf.range(2), initializer=r), hidden)


@block
def scan_in_loop(hidden, given):
    kernel = variable(given.name)
    return repeated(2, lambda number, h: tf.scan(
        lambda a, factor: tf.tanh(tf.matmul(a, kernel) * factor), tf.constant([0.5, 1.5]),
        initializer=h)[-1], hidden)


@block
def map_in_map(hidden, given):
    kernel = variable(given.name)
    return tf.map_fn(lambda r: tf.map_fn(
        lambda column: tf.reduce_sum(tf.tanh(r * column)), kernel), hidden)


@block
def rnn_in_map(hidden, given):
    cell = tf.nn.rnn_cell.BasicRNNCell(WIDTH, name=given.name)
    kernel = variable(given.name + "_kernel")
    return tf.map_fn(lambda r: tf.nn.dynamic_rnn(
        cell, tf.expand_dims(r * kernel, 0), dtype=tf.float32)[1][0], hidden)


@block
def row_decides_how_often(hidden, given):
    kernel = variable(given.name)

    def turns(r):
        count = tf.cast(tf.floor(tf.abs(r[0]) * 4.0), tf.int32)
        return repeated(count, lambda n, v: tf.tanh(tf.reduce_sum(v * kernel, 1)), r)
    return tf.map_fn(turns, hidden)


@block
def rnn_of_lengths(hidden, given):
    cell = tf.nn.rnn_cell.BasicRNNCell(WIDTH, name=given.name)
    lengths = tf.cast(tf.floor(tf.sigmoid(hidden[:, 0]) * 3.0), tf.int32)
    steps = tf.stack([hidden, hidden * 0.5, tf.sin(hidden)], 1)
    return hidden + tf.nn.dynamic_rnn(cell, steps, lengths, dtype=tf.float32)[1]


@block
def raw_rnn(hidden, given):
    cell = tf.nn.rnn_cell.BasicRNNCell(WIDTH, name=given.name)

    def turn(time, output, state, unused):
        following = hidden if output is None else output
        return (tf.fill(tf.shape(hidden)[:1], time >= 2), following,
                hidden if state is None else state, output, None)
    return tf.nn.raw_rnn(cell, turn)[1]


@block
def array_in_loop(hidden, given):
    kernel = variable(given.name)
    array = tf.TensorArray(tf.float32, 2, element_shape=[None, WIDTH])
    _, _, array = tf.while_loop(
        lambda n, *_: n < 2,
        lambda n, h, a: (n + 1, tf.tanh(tf.matmul(h, kernel)), a.write(n, tf.cond(
            n > 0, lambda: h, lambda: h * tf.constant(2.0)))),
        [tf.constant(0), hidden, array])
    return tf.reduce_sum(array.stack(), 0)


# Derivatives of derivatives.

@block
def penalty_of_a_branch(hidden, given):
    out = constant_is_not_taken(hidden, given)
    return hidden + tf.gradients(tf.reduce_sum(tf.sin(out)), hidden)[0]


@block
def penalty_of_a_loop(hidden, given):
    """Of the values of the rows: whether a loop's body keeps rows apart is not looked into."""
    return hidden + tf.gradients(tf.sin(branch_in_loop(hidden, given)), hidden)[0]


def penalty_of_a_sum(hidden, given):
    out = branch_in_loop(hidden, given)
    return hidden + tf.gradients(tf.reduce_sum(tf.sin(out)), hidden)[0]


def data():
    """(features, labels), both [STEPS x ROWS, WIDTH]."""
    random = np.random.RandomState(3)
    return [random.uniform(-1.0, 1.0, [STEPS * ROWS, WIDTH]).astype(np.float32) for _ in range(2)]


def train(blocks, stage, session, resource=True):
    """Train a model of two stages that holds `blocks[i]` in stage i.

    Args:
      blocks: two functions of (hidden, Inputs).
      stage: number -> context manager in which to build that stage.
      session: makes a session, variables initialized.
      resource: use resource variables.

    Returns:
      (losses, variables by name) of STEPS steps.
    """
    x, y = [tf.placeholder(tf.float32, [None, WIDTH], name) for name in "xy"]
    flag = tf.placeholder(tf.bool, [], "flag")
    with tf.variable_scope(tf.get_variable_scope(), use_resource=resource):
        hidden = x
        for number, build in enumerate(blocks):
            with stage(number):
                hidden = dense(hidden, "dense_{}".format(number))
                hidden = build(hidden, Inputs("block_{}".format(number), flag))
                if number == len(blocks) - 1:
                    loss = tf.reduce_mean(tf.square(dense(hidden, "last") - y))
        step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    features, labels = data()
    with session() as running:
        losses = []
        for number in range(STEPS):
            part = slice(number * ROWS, (number + 1) * ROWS)
            losses.append(running.run([loss, step], {
                x: features[part], y: labels[part], flag: number % 2 == 0})[0])
        return losses, running.run({v.op.name: v for v in tf.global_variables()})


# Random models.

_LEAVES = ("dense", "scaled", "sine", "outer")
_TREES = ("branch", "case", "loop", "map", "fold")


def random_block(seed, depth=3):
    """A block of branches and loops in branches and loops, drawn from `seed`."""
    def build(hidden, given):
        pool = [variable("{}_{}".format(given.name, number)) for number in range(2)]
        drawn = _Drawn(np.random.RandomState(seed), given, pool, hidden)
        # The outermost is never a leaf, and every variable has a gradient.
        out = drawn.tree(hidden, depth)
        return out + sum(tf.reduce_sum(v) for v in pool) * 0.01
    return build


class _Drawn:
    """Draws what a random block is made of, always in the order of `seed`."""

    def __init__(self, random, given, pool, outer):
        self._random, self._given, self._pool, self._outer = random, given, pool, outer
        self._in_map = 0

    def any(self, hidden, depth):
        if depth == 0 or self._random.rand() < 0.2:
            return self.leaf(hidden)
        return self.tree(hidden, depth)

    def leaf(self, hidden):
        kind = _LEAVES[self._random.randint(len(_LEAVES) - bool(self._in_map))]
        kernel = self._pool[self._random.randint(len(self._pool))]
        if kind == "dense":
            return tf.tanh(tf.matmul(hidden, kernel))
        if kind == "scaled":
            return hidden * tf.constant(0.9) + kernel[0] * 0.1
        return tf.sin(hidden) if kind == "sine" else hidden * 0.5 + self._outer * 0.5

    def tree(self, hidden, depth):
        return getattr(self, "_" + _TREES[self._random.randint(len(_TREES))])(hidden, depth - 1)

    def _condition(self, hidden):
        """(a predicate, whether it is true; None: that depends)."""
        kind = self._random.randint(3)
        return [(always(hidden), True), (never(hidden), False), (self._given.flag, None)][kind]

    def _side(self, hidden, depth, may_run):
        """What builds one branch: where it never runs, perhaps a constant of other shape."""
        constant, number = self._random.rand() < 0.6, float(self._random.randint(5, 9))
        if constant and not may_run:
            return lambda: row(number)
        if constant:
            return lambda: tf.fill(tf.shape(hidden), 0.1 * number)
        return lambda: self.any(hidden, depth)

    def _branch(self, hidden, depth):
        condition, known = self._condition(hidden)
        return tf.cond(condition, self._side(hidden, depth, known in (True, None)),
                       self._side(hidden, depth, known in (False, None)))

    def _case(self, hidden, depth):
        return tf.case([(never(hidden), self._side(hidden, depth, False)),
                        (self._given.flag, self._side(hidden, depth, True))],
                       default=self._side(hidden, depth, True))

    def _loop(self, hidden, depth):
        return repeated(self._random.randint(1, 4), lambda n, h: tf.cond(
            tf.equal(n, 1), self._side(h, depth, True), lambda: tf.tanh(h))
            if self._random.rand() < 0.4 else self.any(h, depth), hidden)

    def _map(self, hidden, depth):
        self._in_map += 1
        out = tf.map_fn(lambda r: self.any(tf.expand_dims(r, 0), depth)[0], hidden)
        self._in_map -= 1
        return out

    def _fold(self, hidden, depth):
        return tf.foldl(lambda h, factor: self.any(h * factor, depth), tf.constant([0.5, 1.5]),
                        initializer=hidden)
