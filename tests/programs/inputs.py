# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rows of a program, and the ways to bring them into a graph."""

import numpy as np
import tensorflow.compat.v1 as tf

from tests.programs.drawing import CLASSES, LENGTH, ROWS, STEPS, VOCABULARY, WIDTH


def columns(dtype):
    """All rows of full steps, always the same: {name: array [STEPS * ROWS, ...]}."""
    random = np.random.RandomState(0)
    rows = ROWS * STEPS
    return {
        "x": random.randn(rows, WIDTH).astype(dtype),
        "sequence": random.randn(rows, LENGTH, WIDTH).astype(dtype),
        "ids": random.randint(0, VOCABULARY, (rows, LENGTH)).astype(np.int32),
        "lengths": random.randint(1, LENGTH + 1, rows).astype(np.int32),
        "y": random.randn(rows, 1).astype(dtype),
        "label": random.randint(0, CLASSES, rows).astype(np.int32),
        "importance": random.uniform(0.5, 2.0, rows).astype(dtype),
        "number": np.tile(np.arange(ROWS, dtype=np.int32), STEPS),  # of a row in its step
    }


def share(arrays, part, parts, shorter):
    """What the worker `part` of `parts` reads: its rows of every step.

    `shorter`: the last step has a row less, the last of the last worker.
    """
    def own(array):
        by_step = array.reshape((STEPS, parts, ROWS // parts) + array.shape[1:])
        rows = by_step[:, part].reshape((-1,) + array.shape[1:])
        return rows[:-1] if shorter and part == parts - 1 else rows
    return {name: own(array) for name, array in arrays.items()}


class Inputs:
    """Brings rows into a graph.

    Attributes:
      tensors: name -> tensor.
      initializers: what has to be run first.
      feeds: (session, number of a step) -> feed_dict.
      runners: True if threads have to fill queues.
      fed: True if every step is fed its rows.
    """

    def __init__(self, tensors, initializers=(), feeds=lambda session, number: {}, runners=False,
                 fed=False):
        self.tensors, self.initializers, self.feeds = tensors, list(initializers), feeds
        self.runners, self.fed = runners, fed


def inputs(kind, arrays, batch):
    """`Inputs` of that kind, `batch` rows at a time, and two values that all rows share."""
    rows = _KINDS[kind](arrays, batch)
    rate = tf.placeholder(arrays["x"].dtype, [], "rate")
    flag = tf.placeholder(tf.bool, [], "flag")

    def feeds(session, number):
        return {**rows.feeds(session, number), rate: 0.1 - 0.02 * number, flag: number % 2 == 0}

    return Inputs(dict(rows.tensors, rate=rate, flag=flag), rows.initializers, feeds,
                  rows.runners, rows.fed)


def _placeholders(arrays, batch):
    """Any number of rows; every step is fed all of this worker's."""
    tensors = {name: tf.placeholder(array.dtype, (None,) + array.shape[1:], name)
               for name, array in arrays.items()}

    def feeds(session, number):
        size = len(arrays["x"]) // STEPS
        return {tensors[name]: array[number * size:(number + 1) * size]
                for name, array in arrays.items()}

    return Inputs(tensors, feeds=feeds, fed=True)


def _dataset(arrays, batch, static=False):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch, drop_remainder=static)


def _one_shot(arrays, batch):
    return Inputs(tf.data.make_one_shot_iterator(_dataset(arrays, batch)).get_next())


def _initializable(arrays, batch, static=False):
    iterator = tf.data.make_initializable_iterator(_dataset(arrays, batch, static))
    return Inputs(iterator.get_next(), [iterator.initializer])


def _static(arrays, batch):
    """The number of rows is in the shapes."""
    return _initializable(arrays, batch, static=True)


def _feedable(arrays, batch):
    """Every step is fed the handle of the iterator to read from."""
    handle = tf.placeholder(tf.string, [], "handle")
    source, tensors = _by_handle(arrays, batch, lambda source: handle)
    text = source.string_handle()
    return Inputs(tensors, [source.initializer],
                  lambda session, number: {handle: session.run(text)})


def _wired(arrays, batch):
    """The graph itself says which iterator to read from."""
    source, tensors = _by_handle(arrays, batch, lambda source: source.string_handle())
    return Inputs(tensors, [source.initializer])


def _by_handle(arrays, batch, handle):
    dataset = _dataset(arrays, batch)
    source = tf.data.make_initializable_iterator(dataset)
    iterator = tf.data.Iterator.from_string_handle(
        handle(source), tf.data.get_output_types(dataset), tf.data.get_output_shapes(dataset))
    return source, iterator.get_next()


def _queue(arrays, batch):
    """The queues of `tf.train`."""
    names = sorted(arrays)
    rows = tf.train.slice_input_producer([arrays[name] for name in names], shuffle=False)
    return Inputs(dict(zip(names, tf.train.batch(rows, batch))), runners=True)


_KINDS = {"placeholders": _placeholders, "one_shot": _one_shot, "initializable": _initializable,
          "static": _static, "feedable": _feedable, "wired": _wired,
          "queue": _queue}
