# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step is fed is divided between the clones, row by row, in their order."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.ir.graph_state import state_of
from epl.rewrite.groups import groups_of
from epl.rewrite.rewriter import rewrite
from epl.runtime import feeds
from epl.runtime.runs import describe
from tests.graph import devices
from tests.graph.devices import Layout

LAYOUTS = [Layout(micro_batches=2), Layout(micro_batches=4), Layout(replicas=2),
           Layout(2, 2, 2)]
EACH = pytest.mark.parametrize("layout", LAYOUTS, ids=str)


class Fed:
    """A model that is fed rows, a vector of fixed size and a number; and its step."""

    def __init__(self, layout, graph, slices=1):
        self.rows = tf.placeholder(tf.float32, [None, 3], "rows")
        self.fixed = epl.share_feed(tf.placeholder(tf.float32, [3], "fixed"))
        self.number = tf.placeholder(tf.float32, [], "number")
        self.unused = tf.placeholder(tf.float32, [None], "unused")
        hidden = self.rows * self.fixed
        for number in range(layout.stages):
            with epl.replicate(slices):
                hidden = tf.multiply(hidden, tf.get_variable("w{}".format(number), [3]),
                                     "hidden_{}".format(number))
        self.loss = tf.reduce_mean(hidden) * self.number
        self.gradients = tf.gradients(self.loss, tf.trainable_variables())
        rewrite(graph)
        self.state = state_of(graph)
        self.group = groups_of(self.state)[0]
        self.run = describe(graph, self.gradients, [])

    def of_clones(self, tensor):
        return [self.group.clones.tensor(tensor, clone) for clone in self.group.clones.clones]


@pytest.fixture
def fed(request):
    layout = getattr(request, "param", LAYOUTS[0])
    with devices.started(layout) as graph:
        yield Fed(layout, graph)


@pytest.mark.parametrize("fed", LAYOUTS, ids=str, indirect=True)
def test_rows_go_to_the_clones_in_order(fed):
    count = len(fed.group.clones.clones)
    values = np.arange(count * 6.0).reshape(count * 2, 3)
    shares = feeds.shares(fed.rows, values, fed.run)
    assert [tensor for tensor, _ in shares] == fed.of_clones(fed.rows)
    assert shares[0][0] is fed.rows
    for number, (_, part) in enumerate(shares):
        np.testing.assert_array_equal(part, values[2 * number:2 * number + 2])


@pytest.mark.parametrize("fed", LAYOUTS, ids=str, indirect=True)
@pytest.mark.parametrize("name, value", [
    ("fixed", np.array([1.0, 2.0, 3.0])), ("number", np.array(2.0)), ("unused", np.arange(7.0))])
def test_what_all_clones_share_is_fed_once_as_it_is(fed, name, value):
    tensor = getattr(fed, name)
    (key, fed_value), = feeds.shares(tensor, value, fed.run)
    assert key is tensor and fed_value is value


@pytest.mark.parametrize("fed", LAYOUTS, ids=str, indirect=True)
def test_rows_that_do_not_divide_are_an_error_with_both_numbers(fed):
    count = len(fed.group.clones.clones)
    for rows in (count + 1, 2 * count - 1, 1):
        with pytest.raises(ValueError, match="{} rows are fed to 'rows:0'.*{} clones".format(
                rows, count)):
            feeds.shares(fed.rows, np.zeros([rows, 3]), fed.run)


def test_no_rows_are_an_error(fed):
    with pytest.raises(ValueError, match="0 rows"):
        feeds.shares(fed.rows, np.zeros([0, 3]), fed.run)


@pytest.mark.parametrize("fed", LAYOUTS, ids=str, indirect=True)
def test_divide_gives_every_clone_its_rows_and_leaves_the_feeds_alone(fed):
    count = len(fed.group.clones.clones)
    values = np.arange(count * 3.0).reshape(count, 3)
    given = {compat.feed_key(fed.rows): values, compat.feed_key(fed.number): np.array(2.0)}
    before = dict(given)
    divided = feeds.divide(given, fed.run, fed.state)
    assert given == before and all(given[key] is before[key] for key in given)
    assert len(divided) == count + 1
    found = {compat.fed_tensor(key).name: value for key, value in divided.items()}
    for number, tensor in enumerate(fed.of_clones(fed.rows)):
        np.testing.assert_array_equal(found[tensor.name], values[number:number + 1])
    assert found["number:0"] == 2.0


@pytest.mark.parametrize("fed", LAYOUTS, ids=str, indirect=True)
def test_values_stand_in_the_order_of_their_tensors(fed):
    count = len(fed.group.clones.clones)
    tensors = [fed.number, fed.rows, fed.fixed]
    values = [np.array(2.0), np.arange(count * 3.0).reshape(count, 3), np.ones(3)]
    names = tensors + feeds.further_tensors(tensors, fed.run, fed.state)
    found = feeds.divided(tensors, values, fed.run, fed.state)
    assert len(names) == len(found) == 3 + count - 1
    by_name = {tensor.name: value for tensor, value in zip(names, found)}
    for number, tensor in enumerate(fed.of_clones(fed.rows)):
        np.testing.assert_array_equal(by_name[tensor.name], values[1][number:number + 1])
    assert by_name["number:0"] == 2.0 and by_name["fixed:0"] is values[2]


@pytest.mark.parametrize("fed", LAYOUTS, ids=str, indirect=True)
def test_an_intermediate_tensor_can_be_fed_instead(fed):
    # Rows of it are divided as those of a placeholder are.
    count = len(fed.group.clones.clones)
    hidden = fed.rows.graph.get_tensor_by_name("hidden_0:0")
    shares = feeds.shares(hidden, np.arange(count * 3.0).reshape(count, 3), fed.run)
    assert [tensor for tensor, _ in shares] == fed.of_clones(hidden)
    assert [part[0][0] for _, part in shares] == [3.0 * n for n in range(count)]


def test_a_scalar_of_every_clone_is_fed_to_all(fed):
    shares = feeds.shares(fed.loss, np.array(5.0), fed.run)
    assert [tensor for tensor, _ in shares] == fed.of_clones(fed.loss)
    assert [value for _, value in shares] == [5.0] * len(shares)


@pytest.mark.parametrize("shape, axis", [([], None), ([None], 0), ([None, 2], 0)], ids=str)
def test_an_open_first_dimension_is_divided(shape, axis):
    with tf.Graph().as_default():
        assert feeds.divided_axis(tf.placeholder(tf.float32, shape), np.zeros([8]), 4) == axis


@pytest.mark.parametrize("shape", [[4], [4, None], [1], None], ids=str)
def test_what_only_the_script_knows_has_to_be_declared(shape):
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match=r"divide_feed\(.*share_feed\("):
            feeds.divided_axis(tf.placeholder(tf.float32, shape), np.zeros([8, 2]), 4)
        divided = epl.divide_feed(tf.placeholder(tf.float32, shape))
        assert feeds.divided_axis(divided, np.zeros([8, 2]), 4) == 0
        shared = epl.share_feed(tf.placeholder(tf.float32, shape))
        assert feeds.divided_axis(shared, np.zeros([8, 2]), 4) is None


def test_outside_of_steps_nothing_is_divided(fed):
    run = describe(fed.rows.graph, [fed.loss], [])
    values = np.zeros([7, 3])
    assert run.step == ""
    assert feeds.fed_copies(fed.rows, run) == []
    (tensor, value), = feeds.shares(fed.rows, values, run)
    assert tensor is fed.rows and value is values


def test_slices_share_the_rows_of_a_micro_batch_in_order():
    layout = Layout(micro_batches=2)
    with devices.started(layout, devices=2) as graph:
        fed = Fed(layout, graph, slices=2)
        values = np.arange(24.0).reshape(8, 3)
        shares = feeds.shares(fed.rows, values, fed.run)
        assert [(c.micro_batch, c.slice) for c in fed.group.clones.clones] == [
            (0, 0), (0, 1), (1, 0), (1, 1)]
        assert [tensor for tensor, _ in shares] == fed.of_clones(fed.rows)
        np.testing.assert_array_equal(np.concatenate([part for _, part in shares]), values)


def test_two_gradients_in_one_step_are_fed_the_same_rows():
    layout = Layout(micro_batches=2)
    with devices.started(layout) as graph:
        x = tf.placeholder(tf.float32, [None], "x")
        with epl.replicate(1):
            weight = tf.get_variable("w", [], initializer=tf.ones_initializer())
            product = x * weight
        found = [tf.gradients(tf.reduce_mean(product * factor), [weight])[0]
                 for factor in (1.0, 10.0)]
        rewrite(graph)
        run = describe(graph, found, [])
        assert len(run.groups) == 2
        # The source is common, what is computed from it is each gradient's own.
        assert [len(copies) for copies in feeds.fed_copies(x, run)] == [1, 1]
        assert [len(copies) for copies in feeds.fed_copies(product, run)] == [1, 2]
        with devices.session() as session:
            assert session.run(found, {x: [1.0, 3.0, 5.0, 7.0]}) == [4.0, 40.0]
            # Of `product` instead of `x`, the gradient still needs `x`.
            fed = {product: [0.0] * 4, x: [1.0, 3.0, 5.0, 7.0]}
            assert session.run(found, fed) == [4.0, 40.0]


def test_each_layer_of_a_fed_value_reaches_the_loss():
    for layout in LAYOUTS:
        with devices.started(layout) as graph:
            model = Fed(layout, graph)
            rows = np.random.RandomState(0).rand(8, 3)
            with devices.session() as session:
                whole = session.run(model.loss, {model.rows: rows, model.fixed: np.ones(3),
                                                 model.number: 3.0})
                step, _ = session.run([model.loss, model.gradients], {
                    model.rows: rows, model.fixed: np.ones(3), model.number: 3.0})
            np.testing.assert_allclose(step, whole, rtol=1e-5)
