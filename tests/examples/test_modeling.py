# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The encoder has the public checkpoints' variables and computes what the paper says."""

import json
import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from examples.bert import modeling
from examples.bert.errors import UserError

SIZES = dict(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
             intermediate_size=12, max_position_embeddings=7, type_vocab_size=2,
             hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
CONFIG = modeling.BertConfig(**SIZES)
LAYER = {
    "attention/self/query/kernel": [8, 8], "attention/self/query/bias": [8],
    "attention/self/key/kernel": [8, 8], "attention/self/key/bias": [8],
    "attention/self/value/kernel": [8, 8], "attention/self/value/bias": [8],
    "attention/output/dense/kernel": [8, 8], "attention/output/dense/bias": [8],
    "attention/output/LayerNorm/gamma": [8], "attention/output/LayerNorm/beta": [8],
    "intermediate/dense/kernel": [8, 12], "intermediate/dense/bias": [12],
    "output/dense/kernel": [12, 8], "output/dense/bias": [8],
    "output/LayerNorm/gamma": [8], "output/LayerNorm/beta": [8],
}
VARIABLES = {
    "bert/embeddings/word_embeddings": [11, 8],
    "bert/embeddings/token_type_embeddings": [2, 8],
    "bert/embeddings/position_embeddings": [7, 8],
    "bert/embeddings/LayerNorm/gamma": [8], "bert/embeddings/LayerNorm/beta": [8],
    "bert/pooler/dense/kernel": [8, 8], "bert/pooler/dense/bias": [8],
    "cls/squad/output_weights": [2, 8], "cls/squad/output_bias": [2],
}
VARIABLES.update({"bert/encoder/layer_{}/{}".format(layer, name): shape
                  for layer in (0, 1) for name, shape in LAYER.items()})

IDS = np.array([[2, 5, 3, 9, 3], [2, 7, 3, 0, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
SEGMENTS = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], np.int32)


def build(training=False, ids=IDS):
    encoded = modeling.bert(CONFIG, tf.constant(ids), tf.constant(MASK), tf.constant(SEGMENTS),
                            training)
    return encoded, modeling.span_logits(CONFIG, encoded.sequence_output)


def randomized(session):
    """Give every variable random values, so that no term of the formulas is 0; return them."""
    random = np.random.RandomState(4)
    values = {}
    for variable in tf.global_variables():
        values[variable.op.name] = random.normal(0, 0.5, variable.shape.as_list())
        variable.load(values[variable.op.name].astype(np.float32), session)
    return values


def reference(values, ids, mask, segments):
    """The hidden states of one sequence, in numpy and double precision, head by head.

    Those of the embeddings, then every layer's.
    """
    def dense(x, name):
        return x @ values[name + "/kernel"] + values[name + "/bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * values[name + "/LayerNorm/gamma"] + values[name + "/LayerNorm/beta"]

    gelu = np.vectorize(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))))
    table = "bert/embeddings/{}_embeddings"
    x = norm(values[table.format("word")][ids] + values[table.format("token_type")][segments]
             + values[table.format("position")][:len(ids)], "bert/embeddings")
    states = [x]
    for layer in range(2):
        scope = "bert/encoder/layer_{}/".format(layer)
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            query, key, value = [dense(x, scope + "attention/self/" + name)[:, head]
                                 for name in ("query", "key", "value")]
            weights = np.exp(query @ key.T / 2.0) * mask
            heads.append(weights / weights.sum(-1, keepdims=True) @ value)
        attended = dense(np.concatenate(heads, -1), scope + "attention/output/dense")
        x = norm(x + attended, scope + "attention/output")
        wide = gelu(dense(x, scope + "intermediate/dense"))
        x = norm(x + dense(wide, scope + "output/dense"), scope + "output")
        states.append(x)
    return states


def test_variables_are_those_of_the_public_checkpoints():
    with tf.Graph().as_default():
        build()
        assert {v.op.name: v.shape.as_list() for v in tf.trainable_variables()} == VARIABLES


def test_hidden_states_and_logits_are_those_of_the_formulas():
    with tf.Graph().as_default(), tf.Session() as session:
        encoded, (starts, ends) = build()
        values = randomized(session)
        hidden, pooled, states, starts, ends = session.run(list(encoded) + [starts, ends])
    for row in range(2):
        every = reference(values, IDS[row], MASK[row], SEGMENTS[row])
        assert len(states) == len(every) == 3
        for state, expected in zip(states, every):
            np.testing.assert_allclose(state.reshape([2, 5, 8])[row], expected,
                                       rtol=1e-4, atol=1e-5)
        expected = every[-1]
        np.testing.assert_allclose(hidden[row], expected, rtol=1e-4, atol=1e-5)
        logits = expected @ values["cls/squad/output_weights"].T + values["cls/squad/output_bias"]
        np.testing.assert_allclose(np.stack([starts[row], ends[row]], -1), logits,
                                   rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(pooled[row], np.tanh(
            expected[0] @ values["bert/pooler/dense/kernel"] + values["bert/pooler/dense/bias"]),
            rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing():
    other = IDS.copy()
    other[1, 3:] = 8
    with tf.Graph().as_default(), tf.Session() as session:
        first, _ = build()
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            second, _ = build(ids=other)
        randomized(session)
        one, two = session.run([first.sequence_output, second.sequence_output])
    np.testing.assert_array_equal(one[1, :3], two[1, :3])


def test_dropout_is_on_in_training_only():
    for training in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            encoded, _ = build(training)
            session.run(tf.global_variables_initializer())
            one, two = [session.run(encoded.sequence_output) for _ in range(2)]
        assert np.array_equal(one, two) != training


def stage_starts(num_layers, num_stages):
    """For each stage: its number, and the names of the variables that there are before it."""
    starts = []
    with tf.Graph().as_default():
        ids = tf.constant(IDS)
        modeling.bert(
            modeling.BertConfig(**dict(SIZES, num_hidden_layers=num_layers)), ids, ids,
            tf.constant(SEGMENTS), True, num_stages,
            lambda stage: starts.append((stage, [v.op.name for v in tf.global_variables()])))
    return starts


@pytest.mark.parametrize("num_layers, num_stages", [(2, 1), (2, 2), (4, 2), (6, 3)])
def test_every_stage_is_announced_before_its_first_layer(num_layers, num_stages):
    starts = stage_starts(num_layers, num_stages)
    assert [stage for stage, _ in starts] == list(range(num_stages))
    for stage, names in starts:
        layers = range(stage * num_layers // num_stages)
        built = {name.split("/")[2] for name in names if name.startswith("bert/encoder/")}
        assert built == {"layer_{}".format(layer) for layer in layers}
        assert "bert/embeddings/word_embeddings" in names  # part of the first stage
        assert "bert/pooler/dense/kernel" not in names  # part of the last


def test_stages_that_the_layers_cannot_fill():
    with pytest.raises(UserError, match="num_hidden_layers 3 cannot be divided into 2"):
        stage_starts(3, 2)


def test_too_long_a_sequence():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="8 positions.*at most 7"):
        ids = tf.zeros([1, 8], tf.int32)
        modeling.bert(CONFIG, ids, ids, ids, False)


def test_a_configuration_file(tmp_path):
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps(dict(SIZES, hidden_act="gelu", pooler_type="first_token_transform")))
    assert modeling.BertConfig.from_json_file(str(path)) == CONFIG


@pytest.mark.parametrize("change, message", [
    ({"hiden_size": 8}, "unknown key 'hiden_size'"),
    ({"vocab_size": None}, "the key 'vocab_size' is missing"),
    ({"hidden_size": 9}, "hidden_size 9 is not a multiple of num_attention_heads 2"),
    ({"hidden_size": "8"}, "hidden_size = '8' is not of type int"),
    ({"num_hidden_layers": 0}, "num_hidden_layers = 0 must be greater than 0"),
    ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob = 1.0 is not in [0, 1)"),
    ({"hidden_act": "relu"}, "hidden_act 'relu' is not known"),
])
def test_a_wrong_configuration_file(tmp_path, change, message):
    values = dict(SIZES, **change)
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    with pytest.raises(UserError) as caught:
        modeling.BertConfig.from_json_file(str(path))
    assert message in str(caught.value) and str(path) in str(caught.value)
