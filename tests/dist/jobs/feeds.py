# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers feed: rows of their own, or the same on all.

    feeds.py          two workers: the variables of every training, and the errors of every refusal
    feeds.py plain    the same trainings on one device with the whole batch, without EPL
"""

import os
import pickle
import sys

import numpy as np
import tensorflow.compat.v1 as tf

PLAIN = sys.argv[1:] == ["plain"]
if PLAIN:
    tf.disable_v2_behavior()
    RANK, WORKERS = 0, 1
else:
    import epl
    from tests.dist.jobs.common import start
    RANK, WORKERS = start()

BATCH, STEPS = 8, 3
SIZE = BATCH // WORKERS
RANDOM = np.random.RandomState(0)
IDS = RANDOM.randint(0, 6, [STEPS, BATCH, 2])
LABELS = RANDOM.randn(STEPS, BATCH, 1).astype(np.float32)
OPTIMIZERS = {"sgd": tf.train.GradientDescentOptimizer, "adam": tf.train.AdamOptimizer}


def own(array):
    """This worker's rows."""
    return array[RANK * SIZE:(RANK + 1) * SIZE]


def table(resource=False):
    return tf.get_variable("table", [6, 3], use_resource=resource,
                           initializer=tf.random_uniform_initializer(seed=3))


def trained(train, feeds):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(STEPS):
            session.run(train, feeds(number))
        return session.run({v.name: v for v in tf.global_variables()})


# Trainings.

def lookups(optimizer, resource, shape):
    """Rows of a table for the ids of a fixed batch."""
    ids = tf.placeholder(tf.int32, shape)
    labels = tf.placeholder(tf.float32, [SIZE, 1])
    hidden = tf.reduce_sum(tf.nn.embedding_lookup(table(resource), ids), 1)
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(hidden, 1, keepdims=True) - labels))
    optimizer = OPTIMIZERS[optimizer](tf.placeholder_with_default(0.1, [], "rate"))
    pairs = optimizer.compute_gradients(loss)
    clipped, _ = tf.clip_by_global_norm([g for g, _ in pairs], 0.5)
    train = optimizer.apply_gradients(zip(clipped, [v for _, v in pairs]))
    return trained(train, lambda number: {ids: own(IDS[number]), labels: own(LABELS[number])})


def word2vec():
    """Noise-contrastive estimation as everybody writes it; the noise is drawn beforehand."""
    inputs, labels = tf.placeholder(tf.int32, [SIZE]), tf.placeholder(tf.int32, [SIZE, 1])
    weights = tf.get_variable("weights", [6, 3], initializer=tf.random_uniform_initializer(seed=4))
    biases = tf.get_variable("biases", [6], initializer=tf.zeros_initializer())
    noise = tf.constant([0, 5, 3], tf.int64), tf.fill([SIZE, 1], 0.3), tf.fill([3], 0.4)
    loss = tf.reduce_mean(tf.nn.nce_loss(
        weights, biases, labels, tf.nn.embedding_lookup(table(), inputs), 3, 6,
        sampled_values=noise))
    train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    return trained(train, lambda number: {
        inputs: own(IDS[number])[:, 0], labels: own(IDS[number])[:, 1:]})


def positions(declare):
    """A table of positions, looked up by what all are fed alike, a number or what is declared."""
    x = tf.placeholder(tf.float32, [SIZE, 4])
    if declare:
        rows = tf.placeholder(tf.int32, [4])
        if not PLAIN:
            epl.share_feed(rows)
    else:
        rows = tf.placeholder(tf.int32, [])
    looked_up = tf.nn.embedding_lookup(table(), rows if declare else tf.range(rows))
    loss = tf.reduce_mean(tf.square(tf.matmul(x, looked_up) - 1.0))
    gradient, = tf.gradients(loss, tf.trainable_variables())
    clipped, _ = tf.clip_by_global_norm([gradient], 0.1)
    train = tf.train.GradientDescentOptimizer(0.5).apply_gradients(
        zip(clipped, tf.trainable_variables()))
    features = RANDOM.randn(BATCH, 4)
    return trained(train, lambda number: {
        x: own(features), rows: [3, 1, 0, 4] if declare else 4})


TRAININGS = {"{}-{}-2{}".format(o, "resource" if r else "ref", "" if s[1] else "-open"):
             (lookups, (o, r, s))
             for o in OPTIMIZERS for r in (False, True) for s in ([SIZE, 2], [SIZE, None])}
TRAININGS.update({"word2vec": (word2vec, ()), "positions-number": (positions, (False,)),
                  "positions-declared": (positions, (True,))})


# Refusals, and what is none. Each trains one weight; a step is fed what differs.

def step_of(loss, rate=0.25):
    return tf.train.GradientDescentOptimizer(rate).minimize(loss)


def weight():
    return tf.get_variable("w", [], initializer=tf.zeros_initializer())


def learning_rate():
    rate = tf.placeholder(tf.float32, [], "rate")
    return step_of(tf.square(weight() - 1.0), rate), {rate: 0.1 + RANK}


def learning_rates():
    rates = tf.placeholder(tf.float32, [2], "rates")
    return step_of(tf.square(weight() - 1.0), rates[1]), {rates: [0.1, 0.1 * RANK]}


def rate_with_a_default():
    rate = tf.placeholder_with_default(0.1, [], "rate")
    return step_of(tf.square(weight() - 1.0), rate * 2.0), {rate: 0.5} if RANK else {}


def norm():
    largest = tf.placeholder(tf.float32, [], "largest")
    trained_ = weight()
    clipped, _ = tf.clip_by_global_norm(tf.gradients(tf.square(trained_ - 1.0), [trained_]),
                                        largest)
    return tf.assign_sub(trained_, clipped[0]), {largest: 1.0 + RANK}


def condition():
    wanted = tf.placeholder(tf.bool, [], "wanted")
    trained_ = weight()
    gradient, = tf.gradients(tf.square(trained_ - 1.0), [trained_])
    reset = tf.cond(wanted, lambda: tf.assign(trained_, 0.0).op, tf.no_op)
    return [gradient, reset], {wanted: RANK == 0}


def rows_of(ids):
    return step_of(tf.reduce_mean(tf.square(tf.gather(table(), ids) - 1.0)))


def constant():
    ids = tf.constant([0, 1], name="ids")
    return rows_of(ids), {ids: [2 * RANK, 1]}


def computed():
    ids = tf.identity(tf.range(2) + 1, "ids")
    return rows_of(ids), {ids: [2 * RANK, 1]}


def number():
    count = tf.placeholder(tf.int32, [], "count")
    return rows_of(tf.range(count)), {count: 1 + RANK}


def declared():
    factor = epl.share_feed(tf.placeholder(tf.float32, [None], "factor"))
    return step_of(tf.reduce_mean(tf.square(weight() * factor - 1.0))), {factor: [1.0 + RANK]}


def words():
    names = epl.share_feed(tf.placeholder(tf.string, [None], "names"))
    size = tf.cast(tf.size(names), tf.float32)
    return step_of(tf.square(weight() * size)), {names: ["a", "b" * (1 + RANK)]}


def reward():
    """A number that only the loss reads is each worker's own."""
    reward_ = tf.placeholder(tf.float32, [], "reward")
    return step_of(tf.square(weight() - reward_)), {reward_: 1.0 + RANK}


def constant_of_own():
    ids = epl.divide_feed(tf.constant([0, 1], name="ids"))
    return rows_of(ids), {ids: [2 * RANK, 1]}


REFUSED = [learning_rate, learning_rates, rate_with_a_default, norm, condition, constant, computed,
           number, declared, words]
ACCEPTED = [reward, constant_of_own]


def outcome(build):
    """(error, variables) of a step that is fed what differs between the workers."""
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        train, feeds = build()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            try:
                session.run(train, feeds)
                error = ""
            except epl.ConfigError as caught:
                error = str(caught)
            return error, session.run({v.name: v for v in tf.global_variables()})


def keras_path():
    """A callable of `CallableOptions`, which Keras trains through."""
    rate = tf.placeholder(tf.float32, [], "rate")
    train = step_of(tf.square(weight() - 1.0), rate)
    from tensorflow.core.protobuf import config_pb2
    options = config_pb2.CallableOptions()
    options.feed.append(rate.name)
    options.target.append(train.name)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        step = session._make_callable_from_options(options)
        step(np.float32(0.25))
        try:
            step(np.float32(0.25 + RANK))
        except epl.ConfigError as error:
            return str(error)


def main():
    found = {"trained": {}, "outcomes": {}}
    for name, (train, arguments) in TRAININGS.items():
        RANDOM.seed(1)
        with tf.Graph().as_default():
            found["trained"][name] = train(*arguments)
    if not PLAIN:
        found["outcomes"] = {build.__name__: outcome(build) for build in REFUSED + ACCEPTED}
        with tf.Graph().as_default():
            found["keras"] = keras_path()
    path = os.path.join(os.environ.get("EPL_OUTPUT_DIR", "."), "results.pkl")
    with open(path, "wb") as file:
        pickle.dump(found, file)


main()
