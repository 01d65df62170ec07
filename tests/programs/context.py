# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is known while a program is built, and the variables that it makes."""

import zlib

import tensorflow.compat.v1 as tf

from tests.programs.drawing import WIDTH


class Context:
    """A program in the making.

    Attributes:
      program: the pure data.
      dtype: type of all floats.
      inputs: name -> tensor.
      shards: parts of the batch that batch normalisation normalises apart; 0: leave it to
        TensorFlow's layer.
      values: what the blocks made, [rows, WIDTH] each; the first is the input.
      registered: called with (tensor, key of `epl.GraphKeys`) for what is to be merged.
    """

    def __init__(self, program, inputs, shards, register):
        self.program = program
        self.dtype = tf.as_dtype(program["dtype"])
        self.inputs = inputs
        self.shards = shards
        self.register = register
        self.values = [inputs["x"]]
        self.unused = []
        self._root = tf.get_variable_scope()

    def shared(self, name, shape):
        """A variable that blocks of any stage may use; whoever asks first makes it."""
        with tf.variable_scope(self._root, auxiliary_name_scope=False):
            with tf.variable_scope("shared", reuse=tf.AUTO_REUSE, auxiliary_name_scope=False):
                return tf.get_variable(name, shape, self.dtype)

    def value(self, back):
        """What was made so many blocks before the last."""
        found = self.values[max(0, len(self.values) - 1 - back)]
        self.unused = [value for value in self.unused if value is not found]
        return found

    def add(self, value):
        value.set_shape([None, WIDTH])
        self.values.append(value)
        self.unused.append(value)

    def written_value(self, of):
        """What is written into variables: the first block's value, or the last one's."""
        return self.values[{"last": -1, "first": min(1, len(self.values) - 1)}[of]]


def variable(name, shape, dtype, trainable=True, initializer=None):
    """A variable of that name in this scope, shared by all that ask for it."""
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        return tf.get_variable(name, shape, dtype, trainable=trainable, initializer=initializer)


def seeded(getter, name, *args, initializer=None, **kwargs):
    """A custom getter: random initial values depend on the variable's name, on nothing else."""
    if initializer is None or hasattr(initializer, "seed"):
        initializer = tf.glorot_uniform_initializer(
            seed=zlib.crc32(name.encode()) % 2 ** 31, dtype=kwargs.get("dtype", tf.float32))
    return getter(name, *args, initializer=initializer, **kwargs)
