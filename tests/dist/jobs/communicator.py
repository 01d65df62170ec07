# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Horovod gives what every communicator has to give, and refuses what it lacks by name."""

import tensorflow.compat.v1 as tf

import epl
from epl.communicators.base import Group
from tests.support import exchanges

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


def refused(call):
    try:
        call()
    except NotImplementedError as error:
        print("refused:", error)
    else:
        raise AssertionError("it was not refused")


def main():
    epl.init()
    communicator = epl.Env.get().context.communicator
    exchanges.check_in_graph(communicator)
    exchanges.check_outside(communicator)
    assert communicator._link is not None  # agreements take no cycle of Horovod
    with tf.Graph().as_default():
        refused(lambda: communicator.send(tf.zeros([2]), "there", 1))
        refused(lambda: communicator.receive(tf.float32, [2], "there", 0))
        refused(lambda: communicator.all_reduce(tf.zeros([2]), "some", Group("some", (0, 2))))
    print("exchanged", communicator.name)


if __name__ == "__main__":
    main()
