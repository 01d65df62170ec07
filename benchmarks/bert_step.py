# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `data_parallel.py`: time training steps of BERT on random questions.

Usage: bert_step.py MODE MODEL BATCH STEPS CORE
MODE is plain (no exchange), epl or horovod. Prints `EXAMPLES_PER_SECOND <number>` of this process.
"""

import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from examples.bert import modeling, optimization  # noqa: E402
from examples.bert.bert_config import BertConfig  # noqa: E402

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

LENGTH = 128
WARM_UP = 5
# layers, hidden size, heads: the sizes that the BERT authors published as tiny and mini
MODELS = {"tiny": (2, 128, 2), "mini": (4, 256, 4)}


def build_loss(model, batch):
    """BERT with dropout and the span loss on constant random rows."""
    layers, hidden, heads = MODELS[model]
    config = BertConfig(
        vocab_size=30522, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1, max_position_embeddings=512, type_vocab_size=2)
    random = np.random.RandomState(0)
    ids = tf.constant(random.randint(0, 30522, (batch, LENGTH)), tf.int32)
    encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True)
    start, end = modeling.span_logits(config, encoded.sequence_output)
    answers = tf.constant(random.randint(0, LENGTH, batch), tf.int32)
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
              for logits in (start, end)]
    return tf.reduce_mean(losses[0] + losses[1]) / 2


def train_op(mode, loss):
    optimizer = optimization.AdamWeightDecayOptimizer(1e-4, weight_decay_rate=0.01)
    if mode == "horovod":
        import horovod.tensorflow as hvd

        optimizer = hvd.DistributedOptimizer(optimizer)
    pairs = [pair for pair in optimizer.compute_gradients(loss) if pair[0] is not None]
    gradients, variables = zip(*pairs)
    gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
    return optimizer.apply_gradients(list(zip(gradients, variables)))


def main(mode, model, batch, steps, core):
    os.sched_setaffinity(0, {core})
    before_first_step = []
    if mode == "epl":
        import epl

        epl.init(epl.Config({"communication.communicator": "horovod"}))  # as its peer
        epl.set_default_strategy(epl.replicate(device_count=1))
    elif mode == "horovod":
        import horovod.tensorflow as hvd

        hvd.init()
    tf.set_random_seed(1)
    op = train_op(mode, build_loss(model, batch))
    if mode == "horovod":
        before_first_step = [hvd.broadcast_global_variables(0)]
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        session.run(before_first_step)
        for _ in range(WARM_UP):
            session.run(op)
        start = time.time()
        for _ in range(steps):
            session.run(op)
        seconds = time.time() - start
    print("EXAMPLES_PER_SECOND {:.3f}".format(batch * steps / seconds), flush=True)


if __name__ == "__main__":
    rank = int(os.environ.get("EPL_WORKER_INDEX", "0"))
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]) + rank)
