# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Updates that draw, or ask Python, behind the gradients: a name -> what builds the step."""

import random

import numpy as np
import tensorflow.compat.v1 as tf

ROWS, STEPS = 8, 3
FEATURES = np.arange(1.0, ROWS + 1, dtype=np.float32).reshape(ROWS, 1)

_RATES = {}


def kept(name, shape=(), local=False):
    return tf.get_variable(name, shape, initializer=tf.zeros_initializer(), trainable=False,
                           collections=[tf.GraphKeys.LOCAL_VARIABLES if local
                                        else tf.GraphKeys.GLOBAL_VARIABLES])


def applied(gradients, rate=0.1):
    """An update by some (gradient, variable)."""
    return tf.train.GradientDescentOptimizer(rate).apply_gradients(gradients)


def own_rate():
    """A number that is another one in every process and at every call."""
    return np.float32(random.SystemRandom().uniform(0.01, 0.02))


def noise_on_gradients(gradients, x):
    return applied([(g + 0.1 * tf.random_normal(tf.shape(g)), v) for g, v in gradients])


def noise_made_before(gradients, x):
    with tf.control_dependencies(None):
        noise = [0.1 * tf.random_normal(v.shape) for _, v in gradients]
    return applied([(g + n, v) for (g, v), n in zip(gradients, noise)])


def noise_of_a_function(gradients, x):
    return applied([(g + tf.numpy_function(
        lambda value: value * own_rate(), [g], tf.float32), v) for g, v in gradients])


def rate_of_python(gradients, x):
    return applied(gradients, tf.reshape(tf.py_func(own_rate, [], tf.float32), []))


def rate_of_a_dataset(gradients, x):
    rates = tf.data.Dataset.from_tensors(0).repeat().map(
        lambda _: tf.py_func(own_rate, [], tf.float32))
    rate = tf.data.make_one_shot_iterator(rates).get_next()
    return applied(gradients, tf.reshape(rate, []))


def noise_in_a_branch(gradients, x):
    step = tf.train.get_or_create_global_step()
    every_other = tf.equal(step % 2, 0)
    update = applied([(tf.cond(every_other, lambda g=g: g + tf.random_normal(tf.shape(g)),
                               lambda g=g: g), v) for g, v in gradients])
    with tf.control_dependencies([update]):
        return tf.assign_add(step, 1)


def noise_in_a_branch_of_constants(gradients, x):
    """What is drawn waits for nothing but the branch."""
    step = tf.train.get_or_create_global_step()
    first = tf.less(step, 2)
    update = applied([(g + tf.cond(first, lambda v=v: tf.random_normal(v.shape),
                                   lambda v=v: tf.zeros(v.shape)), v) for g, v in gradients])
    with tf.control_dependencies([update]):
        return tf.assign_add(step, 1)


def noise_in_a_branch_of_functions(gradients, x):
    tf.enable_control_flow_v2()
    try:
        return noise_in_a_branch(gradients, x)
    finally:
        tf.disable_control_flow_v2()


def update_in_a_branch(gradients, x):
    (g, v), = gradients[:1]
    small = tf.norm(g) < 1e6
    return tf.cond(small, lambda: applied([(g + tf.random_normal(tf.shape(g)), v)]),
                   lambda: tf.no_op())


def a_branch_by_chance(gradients, x):
    lucky = tf.random_uniform([]) < 0.5
    return applied([(tf.cond(lucky, lambda g=g: g, lambda g=g: 3.0 * g), v) for g, v in gradients])


def an_update_by_chance(gradients, x):
    (g, v), = gradients[:1]
    with tf.control_dependencies([tf.assign(kept("seen", v.shape), v)]):
        return tf.cond(tf.random_uniform([]) < 0.5, lambda: applied([(g, v)]),
                       lambda: applied([(3.0 * g, v)]))


def steps_in_a_loop(gradients, x):
    return applied([(tf.while_loop(
        lambda n, _: n < 3, lambda n, s: (n + 1, s + 0.1 * tf.random_normal(tf.shape(s))),
        [0, g])[1], v) for g, v in gradients])


def stateless_noise(gradients, x):
    step = tf.cast(tf.train.get_or_create_global_step(), tf.int32)
    update = applied([(g + tf.random.stateless_normal(v.shape, [3, step]), v)
                      for g, v in gradients])
    with tf.control_dependencies([update]):
        return tf.assign_add(tf.train.get_global_step(), 1)


def seeded_noise(gradients, x):
    return applied([(g + 0.1 * tf.random_normal(tf.shape(g), seed=5), v) for g, v in gradients])


def seeded_noise_that_the_loss_reads(gradients, x):
    """One draw for a part of the loss that weighs nothing, and for the update."""
    noise = tf.random_normal([1, 2], seed=7)
    (_, v), = gradients[:1]
    loss = tf.reduce_mean(tf.square(tf.matmul(x, v) + 0.0 * tf.matmul(x, noise)))
    return applied([(g + 0.1 * noise, v) for g in tf.gradients(loss, [v])])


def written_beside(gradients, x):
    v = kept("v", [1, 2])
    with tf.control_dependencies([tf.assign(kept("seen", v.shape), v)]):
        return tf.group(applied(gradients), tf.assign(v, tf.random_normal([1, 2])))


def written_with_the_batch(gradients, x):
    value = tf.reduce_mean(x) + 0.1 * tf.random_normal([])
    return tf.group(applied(gradients), tf.assign(kept("v"), value))


def written_in_python_from_the_batch(gradients, x):
    value = tf.py_func(lambda rows: rows.sum() * own_rate(), [x], tf.float32)
    return tf.group(applied(gradients), tf.assign(kept("v"), tf.reshape(value, [])))


def kept_by_each_worker(gradients, x):
    """Noisy gradients are added up in local variables first."""
    (g, v), = gradients[:1]
    total = kept("total", v.shape, local=True)
    added = tf.assign_add(total, g + tf.random_normal(v.shape))
    with tf.control_dependencies([added]):
        return applied([(tf.identity(total), v)])


UNSEEDED = [
    noise_on_gradients, noise_made_before, noise_of_a_function, rate_of_python, rate_of_a_dataset,
    noise_in_a_branch, noise_in_a_branch_of_constants, noise_in_a_branch_of_functions,
    update_in_a_branch, a_branch_by_chance,
    an_update_by_chance, steps_in_a_loop, written_beside, written_with_the_batch,
    written_in_python_from_the_batch, kept_by_each_worker]
SEEDED = [stateless_noise, seeded_noise, seeded_noise_that_the_loss_reads]
# The chief's variables are brought to all workers before the next step instead: what is written ->
# what that step saw of it is in "seen".
LEVELLED = {an_update_by_chance: "w", written_beside: "v"}


def train(build, rows=slice(None), resource=False, steps=STEPS):
    """The global variables after each step, by name.

    Args:
      build: one of the functions above.
      rows: those that a step is fed.
    """
    after = []
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 1])
        with tf.variable_scope("", use_resource=resource):
            w = tf.get_variable("w", [1, 2], initializer=tf.ones_initializer())
            loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
            gradients = [(g, w) for g in tf.gradients(loss, [w])]
            step = build(gradients, x)
        start = tf.group(tf.global_variables_initializer(), tf.local_variables_initializer())
        names = {v.op.name: v for v in tf.global_variables()}
        with tf.Session() as session:
            session.run(start)
            for _ in range(steps):
                session.run(step, {x: FEATURES[rows] / ROWS})
                after.append(session.run(names))
    return after
