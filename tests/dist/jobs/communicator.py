# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A communicator gives what each has to give, and refuses what it lacks by name."""

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from epl.communicators.base import MAX, Group
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


def check_some(communicator):
    """Two of three workers exchange; the third does not come."""
    some = Group("some", (0, 2))
    if communicator.rank == 1:
        return
    with tf.Graph().as_default():
        values = tf.constant([-0.0, 1.5, float(communicator.rank)])
        total, _ = communicator.all_reduce(values, "some", some)
        rows, _ = communicator.all_gather(values[:communicator.rank], "rows", some)
        sent, _ = communicator.broadcast(values, "sent", some)
        largest, _ = communicator.all_reduce(tf.cast(values, tf.float16), "largest", some, MAX)
        nothing, _ = communicator.all_gather(tf.zeros([0, 3], tf.bool), "nothing", some)
        config = tf.ConfigProto()
        communicator.prepare_session(config)
        with tf.Session(config=config) as session:
            found = session.run([total, rows, sent, largest, nothing])
    np.testing.assert_array_equal(found[0], [0.0, 3.0, 2.0])
    np.testing.assert_array_equal(found[1], [-0.0, 1.5])
    assert np.signbit(found[1][0]) and np.signbit(found[2][0]) and found[2][2] == 0.0
    assert found[3].dtype == np.float16 and found[3][2] == 2.0
    assert found[4].shape == (0, 3) and found[4].dtype == np.bool_


def main():
    epl.init()
    communicator = epl.Env.get().context.communicator
    exchanges.check_in_graph(communicator)
    exchanges.check_outside(communicator)
    if communicator.name == "horovod":
        assert communicator._link is not None  # agreements take no cycle of Horovod
    with tf.Graph().as_default():
        if communicator.name != "shared_memory":
            refused(lambda: communicator.send(tf.zeros([2]), "there", 1))
            refused(lambda: communicator.receive(tf.float32, [2], "there", 0))
        if communicator.name == "horovod":
            refused(lambda: communicator.all_reduce(tf.zeros([2]), "some", Group("some", (0, 2))))
        else:
            check_some(communicator)
    print("exchanged", communicator.name)


if __name__ == "__main__":
    main()
