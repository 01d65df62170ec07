# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What several workers tell each other outside of training steps.

EPL has connected them through Horovod, whose own operations serve here: what EPL merges are the
fetches of training steps. A worker that waits for one that is gone gets an error at once.
"""

from typing import Any, List

import horovod.tensorflow as hvd
import numpy as np
import tensorflow.compat.v1 as tf

from examples.bert.errors import UserError
from examples.bert.exchange import Exchange


class HorovodExchange(Exchange):
    """The exchange between the workers that `epl.init` has connected."""

    def from_chief(self, number: int) -> int:
        return int(self.gather(np.array([number], np.int64))[0])

    def gather(self, rows: Any) -> Any:
        settings = tf.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1,
                                  inter_op_parallelism_threads=1, use_per_session_threads=True)
        with tf.Graph().as_default() as graph, tf.device("/cpu:0"):
            own = tf.placeholder(rows.dtype, [None] + list(rows.shape[1:]))
            joined = hvd.allgather(own, name="bert/gather")
            with tf.Session(graph=graph, config=settings) as session:
                try:
                    return session.run(joined, {own: rows})
                except tf.errors.OpError as error:
                    raise UserError("the connection to the other workers is lost, one of them has "
                                    "ended ({})".format(error.message.splitlines()[0])) from None

    def session_hooks(self) -> List[Any]:
        return [hvd.BroadcastGlobalVariablesHook(0)]
