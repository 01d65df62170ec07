# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `rewrite.py`: build BERT's training step, rewrite it, time both.

Usage: rewrite_step.py SETTINGS
SETTINGS is JSON: `layers`, `micro_batches` (0: TensorFlow alone), `run` (run the step too) and
`core` (where graphs are built). Prints one JSON object.
"""

import contextlib
import json
import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from examples.bert import modeling  # noqa: E402
from examples.bert.bert_config import BertConfig  # noqa: E402

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

ROWS, LENGTH, HIDDEN, VOCABULARY = 2, 16, 16, 100  # next to nothing to compute


def build_loss(layers, on_stage=None):
    """BERT in two stages, with dropout and the span loss, on rows of a dataset."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=4 * HIDDEN, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
        max_position_embeddings=LENGTH, type_vocab_size=2)
    columns = np.ones((ROWS, LENGTH), np.int32), np.ones(ROWS, np.int32)
    dataset = tf.data.Dataset.from_tensors(columns).repeat()
    ids, answers = tf.data.make_one_shot_iterator(dataset).get_next()
    encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True,
                            num_stages=2, on_stage=on_stage)
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
              for logits in modeling.span_logits(config, encoded.sequence_output)]
    return tf.reduce_mean(losses[0] + losses[1]) / 2


class Clock:
    """Seconds and numbers of operations of what is done one after the other."""

    def __init__(self):
        self.seconds, self.operations = {}, {}

    @contextlib.contextmanager
    def part(self, name, now=time.process_time):
        before = len(tf.get_default_graph().get_operations())
        begin = now()
        yield
        self.seconds[name] = now() - begin
        self.operations[name] = len(tf.get_default_graph().get_operations()) - before


def seconds_of_passes(graph):
    """Name of a pass -> seconds that it took, as `epl.explain(passes=True)` prints them."""
    from epl.ir.editor import History
    from epl.ir.graph_state import state_of

    return {work.name: work.seconds for work in state_of(graph).record(History).works}


def start_epl(micro_batches):
    """`epl.init` for two stages; returns what begins a stage."""
    import epl

    epl.init(epl.Config({"pipeline.num_micro_batch": micro_batches}))
    return lambda stage: epl.set_default_strategy(epl.replicate(1, name="stage_{}".format(stage)))


def measure(layers, micro_batches, run):
    tf.set_random_seed(1)
    clock, passes = Clock(), {}
    on_stage = start_epl(micro_batches) if micro_batches else None
    with clock.part("forward"):
        loss = build_loss(layers, on_stage)
    with clock.part("gradients"):
        gradients = tf.gradients(loss, tf.trainable_variables())
    pairs = [(g, v) for g, v in zip(gradients, tf.trainable_variables()) if g is not None]
    with clock.part("optimizer"):
        op = tf.train.GradientDescentOptimizer(0.01).apply_gradients(pairs)
        init = tf.global_variables_initializer()
    if micro_batches:
        from epl.rewrite.rewriter import rewrite

        with clock.part("rewrite"):
            rewrite(tf.get_default_graph())
        passes = seconds_of_passes(tf.get_default_graph())
    if run:
        session = tf.Session()
        for name, target in (("initializer", init), ("first step", op), ("second step", op)):
            with clock.part(name, time.perf_counter):
                session.run(target)
    return {"seconds": clock.seconds, "operations": clock.operations,
            "passes": passes}


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    core = settings.pop("core")
    if not settings["run"]:
        os.sched_setaffinity(0, [core])
    print(json.dumps(measure(**settings)))
