# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `planner.py`.

Usage: planner_step.py SETTINGS
SETTINGS is JSON: `task` ("measure", "predict", "serve"), `model` (a key of MODELS), `side`,
`costs` (a path) and `cores`. `side` is "auto" (stages cut with measured times), "assumed" (with
assumed rates), or a number: the layer by hand that the second stage begins with.

`measure` trains on one device and writes `costs`. `predict` prints one JSON object: milliseconds of
a step on paper, and the number of forward operations in front of each layer. `serve` prints READY,
then runs as many steps as each line of its input says, and answers `SECONDS <seconds>`.
"""

import json
import os
import re
import sys

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import epl  # noqa: E402
import epl.profiler  # noqa: E402
from benchmarks import bert_step, pipeline_step  # noqa: E402
from epl import compat  # noqa: E402
from examples.bert import modeling  # noqa: E402
from examples.bert.bert_config import BertConfig  # noqa: E402

MICRO_BATCHES = 8
PREDICTED = re.compile(r"step of a replica on paper: ([\d.]+) ms")


class _Bert:
    """BERT-mini: four equal layers, between embeddings and the loss."""

    layers = 4

    def columns(self):
        random = np.random.RandomState(0)
        return (random.randint(0, 30522, (4, bert_step.LENGTH)).astype(np.int32),
                random.randint(0, bert_step.LENGTH, 4).astype(np.int32))

    def loss(self, columns, layer):
        ids, answers = columns
        config = BertConfig(
            vocab_size=30522, hidden_size=256, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=1024, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
            max_position_embeddings=512, type_vocab_size=2)
        encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True,
                                num_stages=4, on_stage=layer)
        losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
                  for logits in modeling.span_logits(config, encoded.sequence_output)]
        return tf.reduce_mean(losses[0] + losses[1]) / 2


class _Convolutions:
    """Convolutions whose layers cost less and less time, and hold more and more weights."""

    layers = 7
    _FILTERS = (32, 32, 64, 64, 128, 128, 256)

    def columns(self):
        random = np.random.RandomState(0)
        return (random.rand(8, 48, 48, 3).astype(np.float32),
                random.randint(0, 10, 8).astype(np.int32))

    def loss(self, columns, layer):
        hidden, labels = columns
        for number, filters in enumerate(self._FILTERS):
            layer(number)
            kernel = tf.get_variable("kernel_{}".format(number),
                                     [3, 3, int(hidden.shape[-1]), filters],
                                     initializer=tf.glorot_uniform_initializer(seed=number))
            stride = 2 if number % 2 else 1
            hidden = tf.nn.relu(tf.nn.conv2d(hidden, kernel, [1, stride, stride, 1], "SAME"))
        logits = tf.matmul(tf.reduce_mean(hidden, [1, 2]), tf.get_variable(
            "logits", [self._FILTERS[-1], 10], initializer=tf.glorot_uniform_initializer(seed=9)))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=logits))


class _Lstm:
    """A stack of LSTM layers of unequal width, each a loop over 24 words."""

    layers = 5
    _UNITS = (128, 128, 256, 256, 384)

    def columns(self):
        random = np.random.RandomState(0)
        return (random.randn(32, 24, 64).astype(np.float32),
                random.randn(32, self._UNITS[-1]).astype(np.float32))

    def loss(self, columns, layer):
        hidden, wanted = columns
        for number, units in enumerate(self._UNITS):
            layer(number)
            hidden = self._layer(hidden, units, number)
        return tf.reduce_mean(tf.square(hidden[:, -1] - wanted))

    def _layer(self, inputs, units, number):
        kernel = tf.get_variable("kernel_{}".format(number),
                                 [int(inputs.shape[-1]) + units, 4 * units],
                                 initializer=tf.glorot_uniform_initializer(seed=number))
        words = tf.transpose(inputs, [1, 0, 2])

        def step(state, word):
            gates = tf.matmul(tf.concat([word, state[0]], 1), kernel)
            new, entered, kept, shown = tf.split(gates, 4, 1)
            cell = tf.sigmoid(kept) * state[1] + tf.sigmoid(entered) * tf.tanh(new)
            return tf.sigmoid(shown) * tf.tanh(cell), cell

        zero = tf.zeros([int(inputs.shape[0]), units])
        return tf.transpose(tf.scan(step, words, (zero, zero))[0], [1, 0, 2])


MODELS = {"mini": _Bert(), "convolutions": _Convolutions(), "lstm": _Lstm()}


def build(settings, config=None, at_layer=lambda number: None):
    """The step that trains a model, in the default graph; `at_layer` is called in each layer."""
    epl.init(epl.Config(config))
    tf.set_random_seed(1)
    model = MODELS[settings["model"]]
    dataset = tf.data.Dataset.from_tensors(model.columns()).repeat()
    loss = model.loss(tf.data.make_one_shot_iterator(dataset).get_next(), at_layer)
    return tf.train.AdamOptimizer().minimize(loss, tf.train.get_or_create_global_step())


def staged(settings):
    """(step, numbers of operations in front of the layers) of a pipeline of two stages."""
    side, in_front = settings["side"], []
    config = {"pipeline.num_micro_batch": MICRO_BATCHES}
    if side != "assumed":
        config["auto.costs"] = settings["costs"]
    if side in ("auto", "assumed"):
        config.update({"auto.auto_parallel": True, "pipeline.num_stages": 2})

    def at_layer(number):
        in_front.append(compat.last_id(tf.get_default_graph()))
        if side not in ("auto", "assumed") and number in (0, side):
            epl.set_default_strategy(epl.replicate(1, name="stage_{}".format(int(number > 0))))

    return build(settings, config, at_layer), in_front


def measure(settings):
    epl.init()
    epl.set_default_strategy(epl.replicate(1))
    step = build(settings)
    hook = epl.profiler.CostsHook(settings["costs"], skip=3, steps=7)
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.train.MonitoredTrainingSession(hooks=[hook], config=config) as session:
        while hook.measured is None:
            session.run(step)
    print(json.dumps({"step_us": hook.measured.step_us}))


def predict(settings):
    _, in_front = staged(settings)
    text = epl.explain()
    found = PREDICTED.search(text)
    print(json.dumps({"ms": float(found.group(1)) if found else None, "in_front": in_front,
                      "stages": [line for line in text.splitlines() if " % of the time" in line]}))


def serve(settings):
    step, _ = staged(settings)
    session = pipeline_step.open_session(len(settings["cores"]))
    pipeline_step.timed(session, step, pipeline_step.WARM_UP)
    print("READY", flush=True)
    for line in sys.stdin:
        print("SECONDS {:.6f}".format(pipeline_step.timed(session, step, int(line))), flush=True)


def main():
    settings = json.loads(sys.argv[1])
    os.sched_setaffinity(0, settings["cores"])
    {"measure": measure, "predict": predict, "serve": serve}[settings["task"]](settings)


if __name__ == "__main__":
    main()
