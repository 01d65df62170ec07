# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""BERT-large on 8 to 1,024 devices, on paper: which layout is fastest, and what it takes.

    python benchmarks/scale.py                # half a minute on one core; no device is needed

The graph is built, nothing is run. Costs are those of automatic stages (FLOPs and bytes from the
graph's shapes); rates are assumed: those of `epl.plan.costs.RATES["gpu"]` with 16 GiB, 10 GB/s to
the next stage, 12.5 GB/s (100 Gbit/s) to another replica.
"""

import argparse
import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from measuring import table  # noqa: E402

import epl  # noqa: E402
from epl.ir.environment import plan_for  # noqa: E402
from epl.ir.graph_state import state_of  # noqa: E402
from epl.plan.costs import LINKS, PER_SECOND, RATES  # noqa: E402
from epl.plan.estimate import Hardware, Layouts  # noqa: E402
from epl.rewrite.planning.automatic import Automatic, assign  # noqa: E402
from examples.bert import modeling  # noqa: E402
from examples.bert.bert_config import BertConfig  # noqa: E402

ROWS, LENGTH = 8, 128  # of a micro-batch
GLOBAL = 1024  # micro-batches in a step, of all replicas together
HARDWARE = Hardware(PER_SECOND["gpu"], RATES["gpu"].sent, *LINKS["gpu"], 16 << 30)
DEVICES = (8, 16, 32, 64, 128, 256, 512, 1024)
SCHEDULES = ("preferbackward", "zb-h1")


def chain_of_bert_large():
    """The costs of one micro-batch."""
    tf.disable_v2_behavior()
    os.environ.update(EPL_NUM_WORKERS="1", EPL_WORKER_INDEX="0", EPL_GPU_PER_WORKER="2",
                      EPL_DEVICE_TYPE="cpu")
    epl.init(epl.Config({"auto.auto_parallel": True, "pipeline.num_stages": 2}))
    config = BertConfig(
        vocab_size=30522, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        intermediate_size=4096, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
        max_position_embeddings=512, type_vocab_size=2)
    columns = np.ones((ROWS, LENGTH), np.int32), np.ones(ROWS, np.int32)
    ids, answers = tf.data.make_one_shot_iterator(
        tf.data.Dataset.from_tensors(columns).repeat()).get_next()
    encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True)
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
              for logits in modeling.span_logits(config, encoded.sequence_output)]
    tf.train.AdamOptimizer().minimize(tf.reduce_mean(losses[0] + losses[1]) / 2)
    graph = tf.get_default_graph()
    assign(graph, state_of(graph), plan_for(graph))
    return state_of(graph).known(Automatic).chain


def row(name, found):
    return [name, "{} x {}".format(found.num_replicas, found.num_stages),
            str(found.num_micro_batch), found.schedule, "{:.2f}".format(found.seconds),
            "{:.1f} %".format(100 * found.bubble_share), "{:.1f}".format(found.memory / 2 ** 30),
            "{:.2f}".format(found.sent / 1e9)]


def main():
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    chain = chain_of_bert_large()
    begin = time.perf_counter()
    layouts, rows = Layouts(chain, HARDWARE), []
    for number in DEVICES:
        found = layouts.by_time(number, GLOBAL, SCHEDULES)
        rows.append(row(str(number), found[0]))
        alone = [each for each in found if each.num_stages == 1]
        rows.append(row("", alone[0]) if alone and alone[0] != found[0] else None)
    seconds = time.perf_counter() - begin
    print(table(["devices", "replicas x stages", "micro-batches", "schedule", "step, s", "bubble",
                 "memory, GiB", "sent by a device, GB"], [each for each in rows if each]))
    begin = time.perf_counter()
    Layouts(chain, HARDWARE).by_time(1000, 1000, SCHEDULES)
    print("\n{} layouts chosen in {:.1f} s; the best of 1,000 devices alone in {:.1f} s".format(
        len(DEVICES), seconds, time.perf_counter() - begin))


if __name__ == "__main__":
    main()
