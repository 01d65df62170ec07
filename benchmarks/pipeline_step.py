# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `pipeline.py`.

Usage: pipeline_step.py SETTINGS
SETTINGS is JSON: `task` ("serve", "memory", "overhead"), `model` (a key of MODELS), `rows` (of a
micro-batch), `micro_batches`, `side`, `cores`, and `stages` if these are not as many as the
worker's devices (1 or 2). `side` is

    plain         TensorFlow alone, the whole batch at once
    accumulated   TensorFlow alone, the micro-batches one by one, their gradients averaged
    <schedule>    EPL, a name of a schedule; its devices are what the environment says

`serve` prints READY, then runs as many steps as each line of its input says, and answers
`SECONDS <seconds>`. The other tasks print one JSON object.
"""

import collections
import json
import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks import bert_step  # noqa: E402
from examples.bert import modeling  # noqa: E402
from examples.bert.bert_config import BertConfig  # noqa: E402

WARM_UP = 2
PLAIN, ACCUMULATED = "plain", "accumulated"


class _DenseLayers:
    """Two stages of dense layers of the same cost, and the squared error.

    The first layer computes no gradient for its input: two matrix products instead of three. It
    has half as many inputs again, so that both stages do the same number of multiplications.
    """

    def __init__(self, width, layers_per_stage):
        self._width, self._layers = width, layers_per_stage

    def columns(self, rows):
        random = np.random.RandomState(0)
        return tuple(random.randn(rows, size).astype(np.float32)
                     for size in (self._width * 3 // 2, self._width))

    def loss(self, columns, stage):
        hidden, wanted = columns
        for layer in range(2 * self._layers):
            if layer % self._layers == 0:
                stage(layer // self._layers)
            size = hidden.shape.as_list()[1]
            kernel = tf.get_variable("kernel_{}".format(layer), [size, self._width],
                                     initializer=tf.glorot_uniform_initializer(seed=layer))
            hidden = tf.nn.relu(tf.matmul(hidden, kernel))
        return tf.reduce_mean(tf.square(hidden - wanted))

    def train_op(self, loss):
        return tf.train.GradientDescentOptimizer(0.01).minimize(loss)


class Bert:
    """BERT with dropout and the span loss, trained as in `bert_step.py`."""

    def __init__(self, name):
        layers, hidden, heads = bert_step.MODELS[name]
        self._config = BertConfig(
            vocab_size=30522, hidden_size=hidden, num_hidden_layers=layers,
            num_attention_heads=heads, intermediate_size=4 * hidden, hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1, max_position_embeddings=512, type_vocab_size=2)

    def columns(self, rows):
        random = np.random.RandomState(0)
        ids = random.randint(0, 30522, (rows, bert_step.LENGTH))
        return ids.astype(np.int32), random.randint(0, bert_step.LENGTH, rows).astype(np.int32)

    def loss(self, columns, stage):
        ids, answers = columns
        encoded = modeling.bert(self._config, ids, tf.ones_like(ids), tf.zeros_like(ids),
                                training=True, num_stages=2, on_stage=stage)
        losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
                  for logits in modeling.span_logits(self._config, encoded.sequence_output)]
        return tf.reduce_mean(losses[0] + losses[1]) / 2

    def train_op(self, loss):
        return bert_step.train_op(PLAIN, loss)


MODELS = {
    "mlp": _DenseLayers(width=1024, layers_per_stage=3),
    "mini": Bert("mini"),
    # a micro-batch of 4096 rows: 4 MB of activations per layer beside 0.25 MB of weights
    "wide batch": _DenseLayers(width=256, layers_per_stage=6),
    "tiny": _DenseLayers(width=16, layers_per_stage=1),
}


def build(settings):
    """The training step that `settings` describe, in the default graph."""
    model, side = MODELS[settings["model"]], settings["side"]
    rows, micro_batches = settings["rows"], settings["micro_batches"]
    tf.set_random_seed(1)
    if side in (PLAIN, ACCUMULATED):
        per_loss = rows * micro_batches if side == PLAIN else rows
        batches = iterator(model, per_loss)
        losses = []
        for number in range(1 if side == PLAIN else micro_batches):
            with tf.variable_scope("", reuse=number > 0):
                losses.append(model.loss(batches.get_next(), lambda stage: None))
        return model.train_op(tf.add_n(losses) / len(losses))
    import epl

    epl.init(epl.Config({"pipeline.num_micro_batch": micro_batches, "pipeline.strategy": side}))
    staged = settings.get("stages", epl.Env.get().cluster.gpu_num_per_worker) > 1
    if not staged:
        epl.set_default_strategy(epl.replicate(device_count=1))

    def begin(stage):
        if staged:
            epl.set_default_strategy(epl.replicate(1, name="stage_{}".format(stage)))

    return model.train_op(model.loss(iterator(model, rows).get_next(), begin))


def iterator(model, rows):
    dataset = tf.data.Dataset.from_tensors(model.columns(rows)).repeat()
    return tf.data.make_one_shot_iterator(dataset)


def open_session(threads, graph=None):
    """A session that runs `threads` operations at a time, each with one thread; initialised."""
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads)
    session = tf.Session(graph=graph, config=config)
    with session.graph.as_default():
        session.run(tf.global_variables_initializer())
    return session


def timed(session, op, steps):
    """Seconds of so many steps."""
    begin = time.perf_counter()
    for _ in range(steps):
        session.run(op)
    return time.perf_counter() - begin


def serve(settings):
    """Answer blocks of steps until the input ends."""
    op = build(settings)
    session = open_session(len(settings["cores"]))
    timed(session, op, WARM_UP)
    print("READY", flush=True)
    for line in sys.stdin:
        print("SECONDS {:.6f}".format(timed(session, op, int(line))), flush=True)


def memory(settings):
    """The most bytes that the operations of each device hold at a time during a step."""
    op = build(settings)
    session = open_session(len(settings["cores"]))
    timed(session, op, WARM_UP)
    metadata = tf.RunMetadata()
    session.run(op, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                run_metadata=metadata)
    print(json.dumps(peaks(metadata.step_stats)))


def peaks(step_stats):
    """Bytes allocated and not yet freed, at most, by device, of a traced step.

    TensorFlow notes every allocation and every release of every operation with its time
    (`NodeExecStats.memory[].allocation_records`, releases with negative sizes), also releases that
    come long after the operation has ended. Played back in their order they give what the step
    holds. A buffer that an operation hands on, to the next one or to another device of the same
    process, stays with the operation that allocated it. Variables were there before and do not
    count. The `peak_bytes` and `live_bytes` next to the records are those of one operation, and
    virtual devices share one allocator, so its own peak says nothing about a device.
    """
    records = collections.defaultdict(list)
    for device in step_stats.dev_stats:
        for node in device.node_stats:
            for allocator in node.memory:
                records[device.device].extend(
                    (r.alloc_micros, r.alloc_bytes) for r in allocator.allocation_records)
    found = {}
    for device, changes in records.items():
        held = peak = 0
        for _, change in sorted(changes):  # within a microsecond releases come first
            held += change
            peak = max(peak, held)
        found[device.split("device:")[-1]] = {
            "peak": peak, "left": held, "records": len(changes)}
    return found


def overhead(settings):
    """Seconds of blocks of steps without and with EPL, in turns, in one process.

    The plain graph and its session are made before EPL is imported.
    """
    sides = []
    for side in (PLAIN, "preferbackward"):
        with tf.Graph().as_default() as graph:
            op = build(dict(settings, side=side))
        sides.append((open_session(1, graph), op))
    for session, op in sides:
        timed(session, op, settings["steps"])
    seconds = [[], []]
    for number in range(settings["blocks"]):
        for side in ((0, 1) if number % 2 else (1, 0)):
            seconds[side].append(timed(*sides[side], settings["steps"]))
    print(json.dumps({"plain": seconds[0], "epl": seconds[1]}))


def main():
    settings = json.loads(sys.argv[1])
    os.sched_setaffinity(0, settings["cores"])
    {"serve": serve, "memory": memory, "overhead": overhead}[settings["task"]](settings)


if __name__ == "__main__":
    main()
