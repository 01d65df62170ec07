# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Ways to train in one process after another; every part puts its numbers in the report.

All models are one weight w with loss mean((w - x)^2); worker r feeds x = r + 1, so that with two
workers and learning rate 0.25 a step moves w half the way to 1.5.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs.common import line_fit, report, start

RANK, WORKERS = start()
FEED = [RANK + 1.0]


def interactive():
    """InteractiveSession, Tensor.eval and Operation.run."""
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        session = tf.InteractiveSession()
        tf.global_variables_initializer().run()
        train.run({x: FEED})
        value = weight.eval()
        session.close()
        return value


def callables():
    """`Session.make_callable`, with feeds and without, returns plain values."""
    with tf.Graph().as_default():
        weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        loss = tf.square(weight - FEED[0])
        epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            step = session.make_callable([loss, train])
            first = step()[0]
            session.make_callable(train)()
            return [first, session.make_callable(weight)()]


def two_sessions():
    """Two sessions on one graph, in turns: each has its own variables."""
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        init = tf.global_variables_initializer()
        one, two = tf.Session(), tf.Session()
        one.run(init)
        two.run(init)
        for session in (one, two, one):
            session.run(train, {x: FEED})
        return [one.run(weight), two.run(weight)]


def two_graphs():
    """Two graphs, in turns."""
    parts = []
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            x, weight, loss = line_fit()
            train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
            session = tf.Session(graph=graph)
            session.run(tf.global_variables_initializer())
            parts.append((session, train, x, weight))
    for index in (0, 1, 0):
        session, train, x, _ = parts[index]
        session.run(train, {x: FEED})
    return [session.run(weight) for session, _, _, weight in parts]


def two_optimizers():
    """Two losses with an optimizer each (GAN style), and a second one on the same variable."""
    with tf.Graph().as_default():
        x, a, loss_a = line_fit(name="a")
        _, b, _ = line_fit(name="b")
        loss_b = tf.reduce_mean(tf.square(b - x))
        train_a = tf.train.GradientDescentOptimizer(0.25).minimize(loss_a, var_list=[a])
        train_b = tf.train.MomentumOptimizer(0.25, 0.9).minimize(loss_b, var_list=[b])
        again_a = tf.train.GradientDescentOptimizer(0.25).minimize(3 * loss_a, var_list=[a])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for op in (train_a, train_b, again_a):
                session.run(op, {x: FEED})
            return session.run([a, b])


def different_initial_values():
    """Every worker starts elsewhere; the chief's values count, for ref and resource variables."""
    values = []
    for resource in (False, True):
        with tf.Graph().as_default():
            x, weight, loss = line_fit(start_at=10.0 * RANK, resource=resource)
            extra = tf.get_variable("extra", initializer=tf.constant([RANK, 7]), trainable=False,
                                    use_resource=resource)
            train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(train, {x: FEED})
                values.append(session.run([weight, extra]))
    return values


def written_between_steps():
    """Initializing or loading variables again, on all workers or on the chief alone."""
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        new_value = tf.placeholder(tf.float32, [])
        assign = tf.assign(weight, new_value)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {x: FEED})
            session.run(assign, {new_value: 4.0 + RANK})  # everyone, other values
            session.run(train, {x: FEED})
            first = session.run(weight)
            if RANK == 0:
                session.run(assign, {new_value: -1.0})  # the chief alone
            session.run(train, {x: FEED})
            return [first, session.run(weight)]


def gradient_in_a_loss():
    """loss + f(d loss / d w): the inner derivative is each worker's own, the outer is reduced.

    Returns:
      The weight after a step with a linear f, and what is said of another one.
    """
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        train = tf.train.GradientDescentOptimizer(0.125).minimize(
            loss + 3.0 * tf.gradients(loss, [weight])[0])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {x: FEED})
            trained = session.run(weight)
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        penalty = tf.pow(tf.gradients(loss, [weight])[0], 4, name="penalty")
        tf.train.GradientDescentOptimizer(0.001).minimize(loss + penalty)
        try:
            tf.Session().run(tf.global_variables_initializer())
        except NotImplementedError as error:
            return [trained, str(error)]
    return [trained, ""]


def hessian():
    """`tf.hessians` differentiates a gradient inside a loop; it is left alone."""
    with tf.Graph().as_default():
        weight = tf.get_variable("w", [2], initializer=tf.ones_initializer())
        hessians = tf.hessians(tf.reduce_sum((RANK + 1.0) * weight ** 2), [weight])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return session.run(hessians)[0]


def fetches():
    """Values come back in the caller's structure, and the caller's list is not changed."""
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        rows = tf.identity(x)
        epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)
        epl.add_to_collection([rows], epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        total = 2 * x
        epl.add_to_collection(total, epl.GraphKeys.GLOBAL_SUM_OBJECTS)
        asked = [loss, {"rows": rows, "total": total.name}, (train, weight), "x:0"]
        before = list(asked)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            alone = session.run(loss, {x: FEED})
            if RANK == 0:  # a metric on the chief alone hangs nobody
                session.run([loss, train], {x: FEED})
            else:
                session.run(train, {x: FEED})
            weight.load(0.0, session)
            found = session.run(asked, {x: FEED})
        assert asked == before
        return [alone, found[0], found[1]["rows"], found[1]["total"], found[2], found[3]]


def what_follows_from_the_loss():
    """It is of all workers, as the loss is; what does not is this worker's."""
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        same, shown = tf.identity(loss), tf.summary.merge([tf.summary.scalar("loss", loss + 1)])
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            same, shown, rows, _ = session.run([same, shown, x * 2, train], {x: FEED})
        return [same, tf.Summary.FromString(shown).value[0].simple_value, rows[0] / 2 - RANK]


def dropout_masks():
    """Seeded dropout: another mask on every worker, the same again in a second run."""
    masks = []
    for _ in range(2):
        with tf.Graph().as_default():
            tf.set_random_seed(5)
            weight = tf.get_variable("w", [64], initializer=tf.ones_initializer())
            dropped = tf.nn.dropout(weight, rate=0.5, seed=3)
            train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(dropped))
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                masks.append(session.run([dropped, train])[0])
    assert np.array_equal(masks[0], masks[1])
    return masks[0]


def keras():
    """`Model.fit` in graph mode: resource variables, and a way of running sessions of its own."""
    with tf.Graph().as_default():
        with tf.Session() as session:
            tf.keras.backend.set_session(session)
            layer = tf.keras.layers.Dense(
                1, use_bias=False, input_shape=(1,),
                kernel_initializer=tf.keras.initializers.Constant(5.0 * RANK))
            model = tf.keras.models.Sequential([layer])
            model.compile(tf.train.GradientDescentOptimizer(0.25), "mse")
            # prediction w, target r + 1: loss (w - r - 1)^2
            model.fit(np.ones([2, 1]), np.full([2, 1], FEED[0]), batch_size=1, epochs=1, verbose=0)
            value = session.run(layer.kernel)[0, 0]
        tf.keras.backend.set_session(None)
        return value


def second_init():
    """`epl.init` again puts another configuration in force for what is built afterwards."""
    epl.init(epl.Config({"communication.gradients_reduce_method": "sum"}))
    epl.set_default_strategy(epl.replicate(device_count=1))
    with tf.Graph().as_default():
        x, weight, loss = line_fit()
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {x: FEED})
            return session.run(weight)


PARTS = (interactive, callables, two_sessions, two_graphs, two_optimizers,
         different_initial_values, written_between_steps, gradient_in_a_loss, hessian, fetches,
         what_follows_from_the_loss, dropout_masks, keras, second_init)

if __name__ == "__main__":
    report(**{part.__name__: part() for part in PARTS})
