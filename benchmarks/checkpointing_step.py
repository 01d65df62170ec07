# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `checkpointing.py`: train with activations computed again, or without.

Usage: checkpointing_step.py SETTINGS
SETTINGS is JSON: `model` ("bert" or "mlp"), `side` ("without", "auto", "collection" or "manual",
which is plain TensorFlow with its own recomputation), `budget` (MiB, 0: none), `cores` and
`memory`. With `memory` one JSON object is printed; else `READY`, and for every line of input, a
number of steps, the seconds that they took.
"""

import json
import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.core.protobuf import rewriter_config_pb2

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.pipeline_step import peaks, timed  # noqa: E402
from examples.bert import modeling  # noqa: E402
from examples.bert.bert_config import BertConfig  # noqa: E402

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

WARM_UP = 2
BERT_ROWS, LENGTH, HIDDEN, HEADS, BERT_LAYERS = 8, 128, 256, 4, 12
MLP_ROWS, MLP_UNITS, MLP_LAYERS, EVERY = 4096, 512, 16, 4  # 8 MiB for each layer


def bert_loss():
    """BERT with dropout and the span loss; the output of each layer is a checkpoint."""
    config = BertConfig(
        vocab_size=30522, hidden_size=HIDDEN, num_hidden_layers=BERT_LAYERS,
        num_attention_heads=HEADS, intermediate_size=4 * HIDDEN, hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1, max_position_embeddings=512, type_vocab_size=2)
    random = np.random.RandomState(0)
    columns = (random.randint(0, 30522, (BERT_ROWS, LENGTH)).astype(np.int32),
               random.randint(0, LENGTH, BERT_ROWS).astype(np.int32))
    ids, answers = _rows(columns)
    encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True)
    for hidden in encoded.hidden_states:
        tf.add_to_collection("checkpoints", hidden)
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
              for logits in modeling.span_logits(config, encoded.sequence_output)]
    return tf.reduce_mean(losses[0] + losses[1]) / 2


def mlp_loss():
    """Dense layers of equal size; every fourth output is a checkpoint."""
    hidden, = _rows((np.random.RandomState(0).randn(MLP_ROWS, MLP_UNITS).astype(np.float32),))
    for number in range(MLP_LAYERS):
        kernel = tf.get_variable(
            "kernel_{}".format(number), [MLP_UNITS, MLP_UNITS], use_resource=True,
            initializer=tf.glorot_uniform_initializer(seed=number))
        hidden = tf.tanh(tf.matmul(hidden, kernel))
        if number % EVERY == EVERY - 1:
            tf.add_to_collection("checkpoints", hidden)
    return tf.reduce_mean(tf.square(hidden))


def _rows(columns):
    """The same rows in every step."""
    rows = len(columns[0])
    dataset = tf.data.Dataset.from_tensor_slices(columns).repeat().batch(rows, drop_remainder=True)
    return tf.data.make_one_shot_iterator(dataset).get_next()


def build(settings):
    """The training step."""
    if settings["side"] != "manual":
        import epl

        asked = settings["side"] if settings["side"] != "without" else ""
        epl.init(epl.Config({"gradient_checkpoint.type": asked,
                             "gradient_checkpoint.budget_mb": settings["budget"]}))
        epl.set_default_strategy(epl.replicate(device_count=1))
    tf.set_random_seed(1)
    loss = {"bert": bert_loss, "mlp": mlp_loss}[settings["model"]]()
    if settings["side"] == "manual":  # hints for all that is no checkpoint
        kept = {t.op for t in tf.get_collection("checkpoints")}
        for op in loss.graph.get_operations():
            if op.type in ("MatMul", "Tanh") and op not in kept:
                op._set_attr("_recompute_hint", attr_value_pb2.AttrValue(i=0))
    return tf.train.GradientDescentOptimizer(0.01).minimize(loss)


def open_session(settings):
    config = tf.ConfigProto(intra_op_parallelism_threads=1,
                            inter_op_parallelism_threads=len(settings["cores"]))
    if settings["side"] == "manual":
        config.graph_options.rewrite_options.memory_optimization = \
            rewriter_config_pb2.RewriterConfig.MANUAL
    session = tf.Session(config=config)
    session.run(tf.global_variables_initializer())
    return session


def main(settings):
    os.sched_setaffinity(0, settings["cores"])
    op = build(settings)
    session = open_session(settings)
    timed(session, op, WARM_UP)
    if settings["memory"]:
        metadata = tf.RunMetadata()
        session.run(op, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                    run_metadata=metadata)
        print(json.dumps({"peak": sum(each["peak"] for each in peaks(
            metadata.step_stats).values())}))
        return
    print("READY", flush=True)
    for line in sys.stdin:
        print("SECONDS {:.6f}".format(timed(session, op, int(line))), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
