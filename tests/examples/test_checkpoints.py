# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A model starts from a checkpoint that fits it, and is told what of it was used."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from examples.bert import checkpoints, modeling
from examples.bert.errors import UserError

SIZES = dict(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
             intermediate_size=12, max_position_embeddings=7, type_vocab_size=2,
             hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
CONFIG = modeling.BertConfig(**SIZES)
POOLER = "bert/pooler/dense/"


def random_values(shapes):
    random = np.random.RandomState(4)
    return {name: random.normal(0, 0.5, shape).astype(np.float32)
            for name, shape in shapes.items()}


@pytest.fixture(name="values")
def encoder_values():
    """The encoder's variables without the answer head's, and one that no model has."""
    shapes = {name: shape for name, shape in checkpoints.model_shapes(CONFIG).items()
              if name.startswith("bert/")}
    return random_values(dict(shapes, **{"cls/predictions/output_bias": [11]}))


def start(path, config=CONFIG):
    """Build the model and start it; its values, and the report."""
    with tf.Graph().as_default(), tf.Session() as session:
        ids = tf.zeros([1, 7], tf.int32)
        modeling.span_logits(config, modeling.bert(config, ids, ids, ids, False).sequence_output)
        report = checkpoints.initialize_from(path, tf.trainable_variables())
        session.run(tf.global_variables_initializer())
        return {v.op.name: session.run(v) for v in tf.trainable_variables()}, report


def write(directory, values):
    path = str(directory / "bert_model.ckpt")
    checkpoints.write_checkpoint(path, values)
    return path


def test_a_model_starts_from_a_checkpoint(tmp_path, values):
    path = write(tmp_path, values)
    found, report = start(path)
    for name, value in values.items():
        if name in found:
            np.testing.assert_array_equal(found[name], value)
    assert report.splitlines() == [
        "39 of 41 variables start from " + path, "  random: cls/squad/output_bias",
        "  random: cls/squad/output_weights", "  not used: 1 (cls/predictions/output_bias)"]


def test_what_is_written_is_read_to_the_bit_by_tensorflow_too(tmp_path):
    values = random_values(dict(checkpoints.model_shapes(CONFIG), scalar=[]))
    path = write(tmp_path, values)
    assert checkpoints.checkpoint_shapes(path) == {
        name: list(value.shape) for name, value in values.items()}
    for name, value in checkpoints.read_checkpoint(path, values).items():
        assert value.tobytes() == values[name].tobytes()
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, value.shape) for name, value in values.items()]
        tf.train.Saver(variables).restore(session, path)
        for variable in variables:
            np.testing.assert_array_equal(session.run(variable), values[variable.op.name])


def test_a_pooler_that_is_missing_starts_at_random(tmp_path, values):
    path = write(tmp_path, {n: v for n, v in values.items() if not n.startswith(POOLER)})
    assert "  random: bert/pooler/dense/kernel\n" in start(path)[1]


def test_a_layer_that_is_missing(tmp_path, values):
    path = write(tmp_path, values)
    with pytest.raises(UserError) as caught:
        start(path, modeling.BertConfig(**dict(SIZES, num_hidden_layers=3)))
    assert str(caught.value).startswith(
        "the checkpoint '{}' is not one of the model's configuration: it lacks 16 "
        "(bert/encoder/layer_2/attention/output/LayerNorm/beta, ".format(path))
    assert str(caught.value).endswith(", ...)")


def test_layers_that_are_left_over_are_reported(tmp_path, values):
    _, report = start(write(tmp_path, values),
                      modeling.BertConfig(**dict(SIZES, num_hidden_layers=1)))
    assert "not used: 17 (bert/encoder/layer_1/attention/output/LayerNorm/beta, " in report


def test_a_checkpoint_of_another_size(tmp_path, values):
    path = write(tmp_path, values)
    with pytest.raises(UserError) as caught:
        start(path, modeling.BertConfig(**dict(SIZES, vocab_size=12, type_vocab_size=3)))
    assert str(caught.value).splitlines() == [
        "the checkpoint '{}' does not fit the model's configuration:".format(path),
        "  bert/embeddings/token_type_embeddings: [2, 8] in the checkpoint, [3, 8] in the model",
        "  bert/embeddings/word_embeddings: [11, 8] in the checkpoint, [12, 8] in the model"]


def test_a_checkpoint_of_another_model(tmp_path, values):
    path = write(tmp_path, values)
    with tf.Graph().as_default():
        with pytest.raises(UserError, match="none of the model's variables; it has 40 "):
            checkpoints.initialize_from(path, [tf.get_variable("other", [1])])


def test_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        checkpoints.checkpoint_shapes(str(tmp_path / "nothing"))


def test_a_checkpoint_that_was_cut_off(tmp_path, values):
    path = write(tmp_path, values)
    data = tmp_path / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        checkpoints.read_checkpoint(path, values)
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        start(path)
    data.unlink()
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        start(path)


@pytest.mark.parametrize("content, words", [(b"\xff\xfe", "is not UTF-8 text")] + [
    (content, "names no checkpoint") for content in (
        b"", b"garbage {", b'model_checkpoint_path: "nowhere"', b"\0" * 10,
        b"model_checkpoint_path: 5")])
def test_a_damaged_file_that_names_the_latest_is_no_new_beginning(tmp_path, content, words):
    assert checkpoints.latest_checkpoint(str(tmp_path)) is None
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(UserError, match="checkpoint' " + words):
        checkpoints.latest_checkpoint(str(tmp_path))


def test_the_latest_checkpoint(tmp_path):
    checkpoints.write_checkpoint(str(tmp_path / "model.ckpt-3"), {"a": np.float32([1])})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3"\n')
    assert checkpoints.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-3")


def test_an_index_with_any_byte_changed_is_refused(tmp_path):
    """By a check of its own: TensorFlow trusts what it finds there."""
    path = tmp_path / "model"
    checkpoints.write_checkpoint(str(path), {"a": np.float32([1]), "b/c": np.int32([[2, 3]])})
    index = tmp_path / "model.index"
    good = index.read_bytes()
    assert set(checkpoints.checkpoint_shapes(str(path))) == {"a", "b/c"}
    handles = len(good) - 48
    for place in list(range(0, handles)) + [handles, handles + 2, len(good) - 1]:
        index.write_bytes(good[:place] + bytes([good[place] ^ 0x41]) + good[place + 1:])
        with pytest.raises(UserError, match="index' is damaged, or not whole: take another"):
            checkpoints.checkpoint_shapes(str(path))
    far = b"\x80\x80\x80\x80\x01\x08" * 2  # both blocks at byte 2 ** 28
    index.write_bytes(good[:handles] + far.ljust(40, b"\0") + good[-8:])
    with pytest.raises(UserError, match="index' is damaged"):
        checkpoints.checkpoint_shapes(str(path))
    for length in (0, 10, len(good) - 1):
        index.write_bytes(good[:length])
        with pytest.raises(UserError, match="index' is damaged"):
            checkpoints.read_checkpoint(str(path), ["a"])
