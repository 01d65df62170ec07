# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The predicted memory of each device beside what a step allocates there."""

import contextlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from benchmarks.memory_step import Convolutions
from epl.errors import ConfigError
from epl.profiler.memory import read_memory
from examples.bert import modeling
from examples.bert.bert_config import BertConfig
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, ONE, Layout
from tests.support import models

BAR = 0.15
PIPELINE = Layout(stages=2, micro_batches=4)
GC = {"gradient_checkpoint.type": "auto"}
HALVES = {"pipeline.strategy": "ZB-H1"}
TWO_STAGES = {"pipeline.strategy": "ZB-V", "pipeline.num_chunks": 2}
ALL_FORWARDS_FIRST = {"pipeline.strategy": "PreferForward"}


def batches(*columns):
    dataset = tf.data.Dataset.from_tensors(columns).repeat()
    return tf.data.make_one_shot_iterator(dataset).get_next()


def bert(stage):
    """BERT-tiny as its authors published it, but for a smaller vocabulary."""
    config = BertConfig(
        vocab_size=4096, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=512, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
        max_position_embeddings=512, type_vocab_size=2)
    random = np.random.RandomState(0)
    ids, answers = batches(random.randint(0, 4096, (8, 128)).astype(np.int32),
                           random.randint(0, 128, 8).astype(np.int32))
    number = 2 if epl.Env.get().cluster.gpu_num_per_worker > 1 else 1
    encoded = modeling.bert(config, ids, tf.ones_like(ids), tf.zeros_like(ids), training=True,
                            num_stages=number, on_stage=stage)
    losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=answers, logits=logits)
              for logits in modeling.span_logits(config, encoded.sequence_output)]
    return tf.reduce_mean(losses[0] + losses[1]) / 2


def convolutions(stage):
    """Convolutions with batch normalization; the second half is stage 1."""
    model = Convolutions()
    return model.loss(batches(*model.columns(32)), stage)


def train_op(loss, clip):
    optimizer = tf.train.AdamOptimizer(0.001)
    pairs = optimizer.compute_gradients(loss)
    if clip:
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 1.0)
        pairs = list(zip(clipped, [variable for _, variable in pairs]))
    return optimizer.apply_gradients(pairs)


def allocated(step):
    """Device number -> most bytes in use in a step."""
    one_at_a_time = tf.ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    one_at_a_time.use_per_session_threads = True  # others of this process have more
    with tf.Session(config=one_at_a_time) as session:
        session.run(tf.global_variables_initializer())
        session.run(step)
        metadata = tf.RunMetadata()
        session.run(step, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                    run_metadata=metadata)
    return {int(each.short.split(":")[1]): each.peak for each in read_memory(metadata.step_stats)}


CASES = [
    (bert, ONE, {}, False),
    (bert, ACCUMULATION, {}, True),
    (bert, PIPELINE, {}, False),
    (bert, PIPELINE, ALL_FORWARDS_FIRST, True),
    (bert, PIPELINE, GC, False),
    (bert, PIPELINE, HALVES, False),
    (bert, BOTH, {}, False),
    (convolutions, ONE, {}, False),
    (convolutions, PIPELINE, {}, False),
    (convolutions, PIPELINE, ALL_FORWARDS_FIRST, False),
    (convolutions, ACCUMULATION, GC, False),
    (convolutions, PIPELINE, HALVES, False),
    (convolutions, PIPELINE, TWO_STAGES, False),
]


@pytest.mark.parametrize("model, layout, config, clip", CASES, ids=[
    "-".join([model.__name__, str(layout)] + sorted(map(str, config.values()))
             + ["clipped"] * clip)
    for model, layout, config, clip in CASES])
def test_the_prediction_is_near_what_a_step_allocates(model, layout, config, clip):
    """Within 15 %: TensorFlow's graph optimizer joins operations, and finds some needless."""
    def begin(number):
        if layout.stages > 1:
            epl.set_default_strategy(epl.replicate(1, name="stage_{}".format(number)))

    number = layout.stages * layout.replicas // config.get("pipeline.num_chunks", 1)
    with devices.started(layout, config, devices=number):
        if layout.stages == 1:
            epl.set_default_strategy(epl.replicate(1))
        step = train_op(model(begin), clip)
        predicted = epl.predict_memory()
        found = allocated(step)
    assert predicted.remarks == ()
    assert [device.index for device, _ in predicted.devices] == sorted(found)
    for device, memory in predicted.devices:
        ratio = memory.total / found[device.index]
        assert abs(ratio - 1) < BAR, (device, memory, found)


@pytest.mark.parametrize("name", sorted(models.MODELS))
@pytest.mark.parametrize("layout", [ONE, BOTH], ids=str)
@pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])
def test_explain_shows_it_whatever_the_model(name, layout, v2, capsys):
    """Loops, functions, statistics, sparse rows: there is a table, and it can be trained after."""
    flow = devices.control_flow_v2() if v2 else contextlib.nullcontext()
    with devices.started(layout), flow:
        epl.set_default_strategy(epl.replicate(1, name="all"))
        columns = models.data(name)
        loss = models.MODELS[name](models.placeholders(columns))
        tf.train.AdamOptimizer(0.01).minimize(loss)
        epl.explain(rows=4)
    text = capsys.readouterr().out
    assert "memory of this worker's devices when most is in use, predicted, in MiB:" in text
    assert ("loop(s) are counted as if they had one turn" in text) == (name == "while_loop")


def rows_open(units=8):
    x = tf.placeholder(tf.float32, [None, 64], "x")
    return tf.reduce_mean(tf.layers.dense(tf.layers.dense(x, 1024), units))


def test_rows_that_are_open_are_asked_for(capsys):
    with devices.started(ACCUMULATION):
        epl.set_default_strategy(epl.replicate(1))
        tf.train.AdamOptimizer().minimize(rows_open())
        assert "memory is not predicted: the shape of 'x:0' is" in epl.explain()
        with pytest.raises(ConfigError, match=r"'x:0'.*epl.explain\(rows=...\)"):
            epl.predict_memory()
        few, many = epl.predict_memory(rows=16), epl.predict_memory(rows=1600)
        assert "1024" not in epl.explain(rows=16)
    (_, few), (_, many) = few.devices[0], many.devices[0]
    assert many.parameters == few.parameters == 4 * (65 * 1024 + 1025 * 8)
    assert many.state == few.state
    assert many.activations == pytest.approx(1600 * 4 * (1024 + 64), rel=1e-4)
    assert few.activations == pytest.approx(16 * 4 * (1024 + 64), rel=1e-3)


def test_a_number_of_rows_that_cannot_be_is_refused():
    with devices.started(ACCUMULATION):
        epl.set_default_strategy(epl.replicate(1))
        x = tf.placeholder(tf.float32, [None, 64], "x")
        weights = tf.constant(np.ones([4, 1], np.float32))
        tf.train.AdamOptimizer().minimize(tf.reduce_mean(tf.layers.dense(x, 8) * weights))
        with pytest.raises(ConfigError, match="sizes do not fit with rows = 5: "):
            epl.explain(rows=5)
        assert epl.predict_memory(rows=4).devices


def test_nothing_is_predicted_before_there_is_something_to_train():
    with devices.started(ONE):
        with pytest.raises(ConfigError, match="no strategy is set: ask behind"):
            epl.predict_memory(rows=4)
        epl.set_default_strategy(epl.replicate(1))
        loss = rows_open()
        assert "memory" not in epl.explain(rows=4)
        with pytest.raises(ConfigError, match="nothing is trained yet: ask behind the optimizer's"):
            epl.predict_memory(rows=4)
        tf.train.AdamOptimizer().minimize(loss)
        assert epl.predict_memory(rows=4).devices


def test_it_is_asked_before_the_first_step():
    with devices.started(ACCUMULATION):
        epl.set_default_strategy(epl.replicate(1))
        step = tf.train.AdamOptimizer().minimize(rows_open())
        with devices.session() as session:
            session.run(step, {"x:0": np.zeros([16, 64], np.float32)})
        with pytest.raises(ConfigError, match="ask before the first session.run"):
            epl.predict_memory(rows=8)
        assert "memory is not predicted: a session has run the graph" in epl.explain()


def test_variables_are_where_they_will_be():
    with devices.started(Layout(replicas=2)):
        epl.set_default_strategy(epl.replicate(1))
        tf.train.AdamOptimizer().minimize(rows_open())
        (_, first), (_, second) = epl.predict_memory(rows=4).devices
    sizes = [4 * 64 * 1024, 4 * 1024, 4 * 1024 * 8, 4 * 8]
    assert first.parameters == sizes[0] and second.parameters == sum(sizes[1:])
    assert second.state == 2 * sum(sizes[1:]) + 8  # and Adam's two powers
    with devices.started(Layout(replicas=2), {"offload.level": "v0"}):
        epl.set_default_strategy(epl.replicate(1))
        tf.train.AdamOptimizer().minimize(rows_open())
        (_, first), (_, second) = epl.predict_memory(rows=4).devices
    assert first.parameters == sum(sizes) and second.parameters == second.state == 0
