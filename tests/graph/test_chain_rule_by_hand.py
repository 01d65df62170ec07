# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients that a script builds in several calls are those of one device with the whole batch.

A gradient function may ask for gradients itself, and a script may apply the chain rule by hand.
Every function of `SCRIPTS` trains in such a way; its loss is the mean of the rows' or their sum.
"""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from tests.graph import devices
from tests.graph.devices import PIPELINE, REPLICAS, Layout
from tests.graph.test_refusals import refused

FEATURES, LABELS = devices.data(16)
RATE = {"mean": 0.5, "sum": 0.01}
SCRIPTS = {}


def script(function):
    SCRIPTS[function.__name__] = function
    return function


class Model:
    """Rows, two stages of a network, and how to train.

    Attributes:
      reduce: "mean" or "sum" over the rows.
      rows: which rows this process feeds.
    """

    def __init__(self, stage, reduce, resource=False, rows=slice(None)):
        self.stage, self.reduce, self.resource, self.rows = stage, reduce, resource, rows
        self.x = tf.placeholder(tf.float32, [None, 3], "x")
        self.y = tf.placeholder(tf.float32, [None, 1], "y")
        self.feeds = {self.x: FEATURES, self.y: LABELS}

    def loss(self, output):
        rows = tf.reduce_sum(tf.square(output - self.y), 1)
        return {"mean": tf.reduce_mean, "sum": tf.reduce_sum}[self.reduce](rows, name="loss")

    def weights(self, name, rows, columns):
        return tf.get_variable(name, [rows, columns], use_resource=self.resource,
                               initializer=tf.glorot_uniform_initializer(seed=len(name)))

    def apply(self, gradients, variables=None):
        variables = tf.trainable_variables() if variables is None else variables
        # On one device an update may overtake the reader of a ref variable for another gradient.
        gradients = tf.tuple(gradients)
        return tf.train.MomentumOptimizer(RATE[self.reduce], 0.9).apply_gradients(
            [(g, v) for g, v in zip(gradients, variables) if g is not None])

    def train(self, *steps):
        """Run `steps` twice; all variables."""
        fed = {key: value[self.rows] if np.ndim(value) else value
               for key, value in self.feeds.items()}
        with devices.session() as session:
            for step in steps * 2:
                session.run(step, fed)
            return session.run({v.name: v for v in tf.global_variables()})


# Gradient functions that ask for gradients.

def by_hand(inputs, *weights):
    """tanh(inputs w0 w1 ..), differentiated by a gradient function that asks for gradients."""
    @tf.custom_gradient
    def layer(inputs):
        output = inputs
        for weight in weights:
            output = tf.tanh(tf.matmul(output, weight))

        def gradient(upstream, variables=None):
            found = tf.gradients(output, [inputs] + list(variables or weights), grad_ys=upstream)
            return found[0], found[1:]

        return output, gradient

    return layer(inputs)


def computed_again(inputs, *weights):
    """The same; the gradient function computes the activations again."""
    def forward(inputs):
        for weight in weights:
            inputs = tf.tanh(tf.matmul(inputs, weight))
        return inputs

    @tf.custom_gradient
    def layer(inputs):
        def gradient(upstream, variables=None):
            again = tf.identity(inputs)
            with tf.control_dependencies([upstream]):
                output = forward(again)
            found = tf.gradients(output, [again] + list(variables or weights), grad_ys=upstream)
            return found[0], found[1:]

        return forward(inputs), gradient

    return layer(inputs)


def nested(inputs, *weights):
    """A gradient function whose gradients have such a gradient function themselves."""
    @tf.custom_gradient
    def layer(inputs):
        output = by_hand(inputs, *weights)

        def gradient(upstream, variables=None):
            found = tf.gradients(output, [inputs] + list(variables or weights), grad_ys=upstream)
            return found[0], found[1:]

        return output, gradient

    return layer(inputs)


def reversible(inputs, *weights):
    """A block with two halves; the gradient function finds its inputs from its outputs."""
    weight, other = weights[0], weights[-1]

    def f(half):
        return tf.tanh(tf.matmul(half, weight[:, :2]))

    def g(half):
        return tf.tanh(tf.matmul(half, other[:2, :1]))

    @tf.custom_gradient
    def block(one, two):
        out_one = one + g(two)
        out_two = two + f(tf.pad(out_one, [[0, 0], [0, int(weight.shape[0]) - 1]]))

        def gradient(up_one, up_two, variables=None):
            variables = list(variables or weights)
            top = tf.stop_gradient(out_one)
            padded = tf.pad(top, [[0, 0], [0, int(weight.shape[0]) - 1]])
            back_two = tf.stop_gradient(out_two) - f(padded)
            of_f = tf.gradients(f(padded), [top] + variables, grad_ys=up_two)
            up_one = up_one + of_f[0]
            bottom = tf.stop_gradient(back_two)
            of_g = tf.gradients(g(bottom), [bottom] + variables, grad_ys=up_one)
            summed = [tf.add_n([part for part in pair if part is not None])
                      for pair in zip(of_f[1:], of_g[1:])]
            return (up_one, up_two + of_g[0]), summed

        return (out_one, out_two), gradient

    return tf.concat(block(inputs[:, :1], inputs[:, 1:3]), 1)


FUNCTIONS = (by_hand, computed_again, nested, reversible)


def layered(function):
    def train(model):
        model.resource = True  # tf.custom_gradient takes no other variables
        with model.stage(0):
            hidden = function(model.x, model.weights("first", 3, 4), model.weights("again", 4, 4))
            hidden = tf.tanh(tf.matmul(hidden, model.weights("next", int(hidden.shape[1]), 3)))
        with model.stage(1):
            hidden = function(hidden, model.weights("last", 3, 4), model.weights("end", 4, 2))
            loss = model.loss(tf.reduce_sum(hidden, 1, keepdims=True))
        return model.train(model.apply(tf.gradients(loss, tf.trainable_variables())))
    return train


SCRIPTS.update({function.__name__: layered(function) for function in FUNCTIONS})


# The chain rule by hand.

def two_layers(model):
    with model.stage(0):
        hidden = tf.tanh(tf.matmul(model.x, model.weights("first", 3, 4)))
    with model.stage(1):
        loss = model.loss(tf.matmul(hidden, model.weights("second", 4, 1)))
    first, second = tf.trainable_variables()
    return hidden, loss, first, second


@script
def in_two_calls(model):
    hidden, loss, first, second = two_layers(model)
    of_hidden, of_second = tf.gradients(loss, [hidden, second])
    of_first, = tf.gradients(hidden, first, grad_ys=of_hidden)
    return model.train(model.apply([of_first, of_second]))


@script
def layer_by_layer(model):
    """From each tensor to the one before, gradients scaled on the way."""
    with model.stage(0):
        hidden = [tf.tanh(tf.matmul(model.x, model.weights("first", 3, 4)))]
        hidden.append(tf.tanh(tf.matmul(hidden[-1], model.weights("next", 4, 4))))
    with model.stage(1):
        hidden.append(tf.tanh(tf.matmul(hidden[-1], model.weights("last", 4, 4))))
        loss = model.loss(tf.matmul(hidden[-1], model.weights("end", 4, 1)))
    weights = tf.trainable_variables()
    upstream, gradient = tf.gradients(loss, [hidden[2], weights[3]])
    gradients = [gradient]
    for number in (2, 1, 0):
        below = [hidden[number - 1]] if number else []
        found = tf.gradients(hidden[number], below + [weights[number]], grad_ys=[0.9 * upstream])
        gradients.insert(0, found[-1])
        upstream = found[0]
    return model.train(model.apply(gradients))


@script
def of_two_losses(model):
    hidden, loss, first, second = two_layers(model)
    other = model.loss(0.5 * tf.matmul(hidden, tf.ones([4, 1])))
    upstream = [tf.gradients(value, hidden)[0] for value in (loss, other)]
    step = model.apply([tf.gradients(hidden, first, grad_ys=upstream[0] - 0.3 * upstream[1])[0],
                        tf.gradients([loss, other], second)[0]])
    return model.train(step)


@script
def beside_a_loss(model):
    """One of the differentiated tensors is entered with gradients, another one is a loss."""
    hidden, loss, first, second = two_layers(model)
    upstream = tf.gradients(loss, hidden)
    gradients = tf.gradients([hidden, 0.5 * loss], [first, second], grad_ys=upstream + [None])
    return model.train(model.apply(gradients), model.apply(tf.gradients(loss, second), [second]))


@script
def factors(model):
    """Constants, a fed number and a scalar variable as grad_ys of the loss, as loss scaling has."""
    hidden, loss, first, second = two_layers(model)
    scale = tf.get_variable("scale", [], initializer=tf.constant_initializer(128.0),
                            trainable=False)
    fed = tf.placeholder(tf.float32, [])
    model.feeds[fed] = 0.5
    one, = tf.gradients(loss, first, grad_ys=scale.read_value())
    two, = tf.gradients(loss, second, grad_ys=[fed])
    doubling = scale.assign(2.0 * scale)
    return model.train(model.apply([one / scale, two], [first, second]), doubling)


@script
def with_rows(model):
    """A loss built from rows, entered with fed weights of the rows."""
    hidden, _, first, second = two_layers(model)
    weight = tf.placeholder(tf.float32, [None, 1])
    model.feeds[weight] = np.linspace(0.0, 1.0, 16, dtype=np.float32)[:, None]
    upstream, of_second = tf.gradients(
        model.loss(weight * tf.matmul(hidden, second)), [hidden, second])
    of_first, = tf.gradients(hidden, first, grad_ys=weight * upstream)
    return model.train(model.apply([of_first, of_second]))


@script
def sparse_rows(model):
    """The rows of a table are reached in a second call."""
    with model.stage(0):
        table = model.weights("table", 5, 4)
        rows = tf.nn.embedding_lookup(table, tf.cast(tf.abs(3 * model.x[:, 0]), tf.int32) % 5)
        hidden = tf.tanh(tf.matmul(rows, model.weights("kernel", 4, 4)))
    with model.stage(1):
        loss = model.loss(tf.reduce_sum(hidden, 1, keepdims=True))
    upstream, of_kernel = tf.gradients(loss, [rows, tf.trainable_variables()[1]])
    of_table, = tf.gradients(rows, table, grad_ys=upstream)
    assert isinstance(of_table, tf.IndexedSlices)
    return model.train(model.apply([of_table, of_kernel]))


# What else scripts do with gradients.

@script
def accumulated_by_hand(model):
    """Gradients of two steps are added up in variables, and applied then."""
    _, loss, first, second = two_layers(model)
    sums = [tf.get_variable(v.op.name + "_sum", v.shape, trainable=False,
                            initializer=tf.zeros_initializer()) for v in (first, second)]
    add = tf.group(*[s.assign_add(g) for s, g in zip(sums, tf.gradients(loss, [first, second]))])
    update = model.apply([0.5 * s for s in sums])
    clear = tf.group(*[s.assign(tf.zeros_like(s)) for s in sums])
    return model.train(add, add, update, clear)


class Scaled(tf.train.Optimizer):
    """Scales the loss, and its gradients back; a step that is not finite is left out."""

    def __init__(self, inner, scale):
        super().__init__(False, "Scaled")
        self._inner, self._scale = inner, scale

    def compute_gradients(self, loss, *args, **kwargs):
        return [(g / self._scale, v) for g, v in self._inner.compute_gradients(
            loss * self._scale, *args, **kwargs)]

    def apply_gradients(self, grads_and_vars, *args, **kwargs):
        finite = tf.reduce_all([tf.reduce_all(tf.is_finite(g)) for g, _ in grads_and_vars])
        return tf.cond(finite, lambda: self._inner.apply_gradients(grads_and_vars),
                       lambda: tf.no_op())


@script
def scaled_loss(model):
    _, loss, _, _ = two_layers(model)
    inner = tf.train.GradientDescentOptimizer(RATE[model.reduce])
    return model.train(Scaled(inner, 1024.0).minimize(loss))


def aggregated(method):
    def train(model):
        hidden, loss, first, second = two_layers(model)
        total = loss + 0.1 * model.loss(tf.matmul(tf.square(hidden), second)) + 0.1 * model.loss(
            tf.matmul(tf.abs(hidden), second))
        return model.train(model.apply(tf.gradients(total, [first, second],
                                                    aggregation_method=method)))
    return train


SCRIPTS.update({"aggregated_" + name.lower(): aggregated(getattr(tf.AggregationMethod, name))
                for name in ("ADD_N", "EXPERIMENTAL_TREE", "EXPERIMENTAL_ACCUMULATE_N")})


@script
def stopped(model):
    """What stands behind tf.stop_gradient gets no gradients, in either call."""
    hidden, loss, first, second = two_layers(model)
    other = model.loss(tf.matmul(tf.stop_gradient(hidden), second))
    assert tf.gradients(other, [first, hidden]) == [None, None]
    upstream, = tf.gradients(loss + other, hidden, stop_gradients=[hidden])
    of_first, = tf.gradients(hidden, first, grad_ys=tf.stop_gradient(upstream))
    return model.train(model.apply([of_first, tf.gradients(other, second)[0]]))


@pytest.fixture(scope="module")
def plain_results():
    return {}


def trained(layout, name, reduce, resource):
    return devices.run(layout, lambda stage: SCRIPTS[name](Model(stage, reduce, resource)),
                       {"communication.gradients_reduce_method": reduce})


@pytest.mark.parametrize("layout, reduce, resource", [
    (Layout(1, 1, 4), "sum", False), (Layout(1, 1, 4), "mean", True), (PIPELINE, "mean", False),
    (REPLICAS, "sum", True)], ids=str)
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_gives_what_one_device_gives(plain_results, layout, resource, reduce, name):
    key = name, reduce, resource
    if key not in plain_results:
        plain_results[key] = trained(None, *key)
    check_variables(trained(layout, *key), plain_results[key])


def check_variables(found, expected):
    """As in test_equivalence: both sides add the same floats in another order."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, err_msg=name,
                                   atol=1e-5 * np.max(np.abs(value)) + 1e-6)


def test_the_calls_of_a_chain_share_their_clones():
    """Or every step would compute the model once per call."""
    with devices.started(PIPELINE) as graph:
        layer_by_layer(Model(devices.stages(PIPELINE), "mean"))
        groups = groups_of(state_of(graph))
        assert len(groups) == 4
        assert len({id(group.clones) for group in groups}) == 1
        assert {tuple(y.op.name for y in group.ys) for group in groups} == {("loss",)}


def test_rows_that_are_entered_with_what_is_no_gradient():
    """They mean a sum over the rows; nothing says that the loss is a mean."""
    def train(model):
        with model.stage(0):
            output = tf.identity(tf.matmul(model.x, model.weights("w", 3, 1)), name="per_row")
        return model.train(model.apply(tf.gradients(output, tf.trainable_variables(), model.y)))

    with refused("per_row:0", "grad_ys", "gradients_reduce_method = 'sum'", error=ValueError):
        devices.run(Layout(1, 1, 4), lambda stage: train(Model(stage, "mean")))
    summed = devices.run(Layout(1, 1, 4), lambda stage: train(Model(stage, "sum")),
                         {"communication.gradients_reduce_method": "sum"})
    devices.assert_same(summed, devices.run(None, lambda stage: train(Model(stage, "sum"))))
