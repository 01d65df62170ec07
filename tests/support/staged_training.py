# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trainings on workers with several devices each, or in plain TensorFlow with the whole batch.

stages: two stages, two micro-batches; replicas: one stage, two replicas per worker; workers: one
replica per worker. Each way a step has `CLONES` equal parts.
"""

import contextlib
import functools

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import layers, staged_models
from tests.support.staged_models import GLOBAL_BATCH

CLONES = 4
STEPS = 5


class Side:
    """How this worker takes part: its stages, and its rows of every global batch.

    TensorFlow's graph optimizers look at its graphs if they are to be `optimized`.
    """

    def __init__(self, kind, optimized=True):
        self.plain = kind == "plain"
        self.optimized = optimized
        self.num_stages = 2 if kind == "stages" else 1
        self.rank, self.workers = 0, 1
        if not self.plain:
            import epl

            epl.init(epl.Config({"pipeline.num_micro_batch": 2 if kind == "stages" else 1}))
            cluster = epl.Env.get().cluster
            self.rank, self.workers = cluster.worker_index, cluster.worker_num

    def stage(self, number):
        if self.plain:
            return contextlib.nullcontext()
        import epl

        return epl.replicate(1, name="stage_{}".format(number))

    def rows(self, step):
        share = GLOBAL_BATCH // self.workers
        first = step * GLOBAL_BATCH + self.rank * share
        return slice(first, first + share)

    def register(self, **tensors):
        """Put tensors into the collections that the names of the arguments say."""
        if not self.plain:
            import epl

            for key, tensor in tensors.items():
                epl.add_to_collection(tensor, getattr(epl.GraphKeys, key + "_OBJECTS"))


def train(side, model, columns, optimizer, resource=False, writes=None):
    """Returns (losses, variables, first step's registered values).

    Args:
      writes: what the script writes from its batch beside the step, made of the batch; or None.
    """
    arrays = staged_models.data(columns)
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        batch = {name: tf.placeholder(array.dtype, (None,) + array.shape[1:], name)
                 for name, array in arrays.items()}
        with tf.variable_scope(tf.get_variable_scope(), use_resource=resource,
                               custom_getter=seeded):
            loss = model(batch, side.stage, side.num_stages)
            step = tf.train.get_or_create_global_step()
            optimizer = optimizer(loss) if callable(optimizer) else optimizer
            gradients, variables = zip(*optimizer.compute_gradients(loss))
            clipped, norm = tf.clip_by_global_norm(gradients, 0.5)
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                train_op = optimizer.apply_gradients(zip(clipped, variables), step)
            train_op = tf.group(train_op, tf.train.ExponentialMovingAverage(0.5).apply([loss]))
            if writes is not None:
                train_op = tf.group(train_op, *writes(batch, loss))
        first = batch[columns[0]]
        seen = {"GLOBAL_CONCAT": tf.identity(first), "LOCAL_CONCAT": first + 0,
                "GLOBAL_SUM": tf.size(first), "LOCAL_SUM": tf.size(first) + 0}
        side.register(GLOBAL_MEAN=loss, **seen)
        losses = []
        config = tf.ConfigProto(operation_timeout_in_ms=60000)
        config.graph_options.rewrite_options.disable_meta_optimizer = not side.optimized
        with tf.Session(config=config) as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            for number in range(STEPS):
                fetches = {"loss": loss, "norm": norm, "train": train_op}
                if side.rank == 0:  # what the chief alone fetches hangs nobody
                    fetches.update(seen)
                fed = {batch[name]: array[side.rows(number)] for name, array in arrays.items()}
                found = session.run(fetches, fed)
                losses.append([found["loss"], found["norm"]])
                if number == 0:
                    registered = {key: found[key] for key in seen if key in found}
            values = session.run({v.name: v for v in tf.global_variables() + tf.local_variables()})
    return np.array(losses), values, registered


def seeded(getter, name, *args, initializer=None, **kwargs):
    """Initial values depend on a variable's name alone, however many stages there are."""
    if initializer is None or hasattr(initializer, "seed"):
        initializer = tf.glorot_uniform_initializer(seed=sum(name.encode()))
    return getter(name, *args, initializer=initializer, **kwargs)


def normalised(side):
    """A network with batch normalisation; by hand, every clone's part is normalised apart."""
    if side.plain:
        norm = functools.partial(staged_models.norm_by_hand, shards=CLONES)
    else:
        norm = staged_models.library_norm
    return staged_models.convolution(norm)


def everything(batch, loss):
    """Writes of all kinds, of global and of local variables, by a batch of x [rows, 8], y."""
    x, rows = batch["x"], tf.shape(batch["x"])[0]

    def kept(name, shape=(), dtype=tf.float32):
        return tf.get_variable(name, shape, dtype, tf.zeros_initializer(), trainable=False)

    column, bucket = x[:, 0], tf.cast(tf.sigmoid(x[:, 1]) * 3.0, tf.int64)
    largest, table, balance = kept("largest"), kept("table", (3, 8)), kept("balance")
    with tf.control_dependencies([loss]):
        later = tf.assign(kept("median"), tf.nn.top_k(column, rows // 2).values[-1])
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.scatter_add(table, bucket, x))
    return [
        tf.assign_add(kept("rows", (), tf.int32), rows),
        tf.assign_add(kept("sum"), tf.reduce_sum(x)),
        tf.assign(largest, tf.maximum(largest, tf.reduce_max(x))),
        tf.assign(kept("any"), tf.cast(tf.reduce_any(x > 2.5), tf.float32)),
        tf.assign(kept("squares", (8, 8)), tf.matmul(x, x, transpose_a=True)), later,
        tf.scatter_update(kept("last", (3,)), bucket, column),
        tf.cond(tf.reduce_mean(x) > 0, lambda: tf.assign_add(balance, 1.0),
                lambda: tf.assign_sub(balance, 2.0)),
        tf.metrics.mean(column)[1], tf.metrics.accuracy(bucket, tf.ones_like(bucket))[1],
        tf.metrics.auc(column > 0, tf.sigmoid(x[:, 2]))[1], tf.metrics.mean(loss)[1],
    ] + tf.get_collection(tf.GraphKeys.UPDATE_OPS)


@staged_models.in_quarters
def unknown_shapes(batch):
    """Two variables, and with them two gradients, of which no shape is known."""
    one, two = [tf.Variable(tf.fill([8, 1], value), validate_shape=False, name=name)
                for name, value in (("one", 0.1), ("two", -0.2))]
    hidden = tf.matmul(batch["x"], tf.reshape(one, [8, 1]))
    yield
    yield
    hidden = hidden * tf.matmul(batch["x"], tf.reshape(two, [8, 1]))
    yield
    yield tf.reduce_mean(tf.square(hidden - batch["y"]))


@staged_models.in_quarters
def terms(batch):
    """Two masked means, weights with mean 0 and variance 1, and a sum, in one loss."""
    x, hidden = batch["x"], batch["x"]
    mask = tf.cast(x[:, 0] > 0.3, tf.float32)
    for number in range(3):
        hidden = layers.dense(hidden, 8, tf.tanh, name="layer{}".format(number))
        yield
    error = tf.square(layers.dense(hidden, 1, name="out") - batch["y"])[:, 0]
    mean, variance = tf.nn.moments(x[:, 1], [0])
    advantage = (x[:, 1] - mean) / tf.sqrt(variance + 1e-5)
    yield (tf.reduce_sum(error * mask) / (tf.reduce_sum(mask) + 1e-5)
           + tf.losses.compute_weighted_loss(tf.sqrt(error + 1.0), tf.nn.relu(x[:, 2]))
           + 0.1 * tf.reduce_mean(hidden[:, 0] * advantage) + 0.01 * tf.reduce_sum(error))


def trainings(side):
    """part -> a function that trains it and returns what `train` does."""
    later = functools.partial(functools.partial, train, side)
    # A large epsilon: the usual one turns rounding in tiny gradients into whole steps.
    adam = functools.partial(tf.train.AdamOptimizer, 0.02, epsilon=1e-3)

    def momentum(rate=0.1):
        return tf.train.MomentumOptimizer(rate, 0.9)

    return {
        "tied-ref": later(staged_models.tied, ("ids",), momentum()),
        "tied-resource": later(staged_models.tied, ("ids",), adam(), resource=True),
        "lookups": later(staged_models.lookups, ("ids", "y"), momentum()),
        "positions": later(staged_models.encoder, ("ids", "y"), momentum()),
        "lstm": later(staged_models.lstm, ("ids", "length", "y"), adam()),
        "norm-ref": later(normalised(side), ("image", "y"), momentum()),
        "norm-resource": later(normalised(side), ("image", "y"), adam(), resource=True),
        "follows_loss": later(staged_models.mlp, ("x", "y"), lambda loss: momentum(
            0.1 / (1.0 + loss))),
        "writes-ref": later(staged_models.mlp, ("x", "y"), momentum(), writes=everything),
        "writes-resource": later(staged_models.mlp, ("x", "y"), momentum(), resource=True,
                                 writes=everything),
        "terms-ref": later(terms, ("x", "y"), momentum()),
        "terms-resource": later(terms, ("x", "y"), adam(), resource=True),
        "unknown_shapes": later(unknown_shapes, ("x", "y"), momentum()),
    }
