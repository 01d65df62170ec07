# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A model keeps its bits on the way to Hugging Face's layout and back."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest

from examples.bert import checkpoints, convert_checkpoint, huggingface, modeling, weights
from examples.bert.errors import UserError
from examples.bert.safetensors_file import SafetensorsFile, write_safetensors
from tests.support import warm
from tests.support.jobs import ROOT, environment_for

CONFIG = modeling.BertConfig(
    vocab_size=8, hidden_size=4, num_hidden_layers=2, num_attention_heads=2, intermediate_size=6,
    max_position_embeddings=5, type_vocab_size=2, hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.2)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "c"]
# The names there, written down from a published model.
LAYER = ["attention.self.query", "attention.self.key", "attention.self.value",
         "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",
         "output.dense", "output.LayerNorm"]
ENCODER = {name + ending for ending in (".weight", ".bias") for name in
           ["embeddings.LayerNorm", "pooler.dense"]
           + ["encoder.layer.{}.{}".format(n, name) for n in (0, 1) for name in LAYER]}
ENCODER |= {"embeddings.{}_embeddings.weight".format(name)
            for name in ("word", "position", "token_type")}


def values_of(*heads, config=CONFIG):
    """Random weights of the encoder and of some heads ("squad", "predictions", ...)."""
    random = np.random.RandomState(7)
    return {name: random.normal(size=shape).astype(np.float32)
            for name, shape in sorted(weights.variables_of(config).items())
            if name.startswith("bert/") or name.split("/")[1] in heads}


def write_vocabulary(directory, pieces=None):
    (directory / "vocab.txt").write_text("\n".join(pieces or PIECES) + "\n", "utf-8")


def tf1_model(directory, values, config=CONFIG, name="bert_model.ckpt"):
    directory.mkdir()
    checkpoints.write_checkpoint(str(directory / name), values)
    (directory / "bert_config.json").write_text(json.dumps(dataclasses.asdict(config)))
    write_vocabulary(directory)
    return directory


def hf_model(directory, tensors, **changes):
    directory.mkdir()
    write_safetensors(str(directory / "model.safetensors"), tensors)
    config = dict(huggingface.config_to_write(CONFIG, "BertModel"), **changes)
    (directory / "config.json").write_text(json.dumps(config))
    write_vocabulary(directory)
    return directory


def hf_tensors(values):
    return {name: values[variable].T if variable.endswith("kernel") else values[variable]
            for variable, name in huggingface.names_to_write(values).items()}


def convert(to, source, target, checkpoint=None):
    return convert_checkpoint.convert(to, str(source), str(target), checkpoint)


@pytest.mark.parametrize("heads", [
    (), ("squad",), ("predictions", "seq_relationship"),
    ("predictions", "seq_relationship", "squad")])
def test_there_and_back_changes_no_bit(tmp_path, heads):
    values = values_of(*heads)
    source = tf1_model(tmp_path / "tf1", values)
    convert("hf", source, tmp_path / "hf")
    convert("tf1", tmp_path / "hf", tmp_path / "back")
    path = str(tmp_path / "back" / "bert_model.ckpt")
    found = checkpoints.read_checkpoint(path, checkpoints.checkpoint_shapes(path))
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].tobytes() == value.tobytes(), name
    for name in ("vocab.txt", "bert_config.json"):
        one, other = [(directory / name).read_text() for directory in (source, tmp_path / "back")]
        assert json.loads(one) == json.loads(other) if "json" in name else one == other


def test_names_and_axes_are_those_of_hugging_face(tmp_path):
    values = values_of()
    convert("hf", tf1_model(tmp_path / "tf1", values), tmp_path / "hf")
    file = SafetensorsFile(str(tmp_path / "hf" / "model.safetensors"))
    assert set(file.shapes) == ENCODER
    kernel = file.float32("encoder.layer.1.intermediate.dense.weight")
    np.testing.assert_array_equal(
        kernel, values["bert/encoder/layer_1/intermediate/dense/kernel"].T)
    np.testing.assert_array_equal(file.float32("embeddings.LayerNorm.weight"),
                                  values["bert/embeddings/LayerNorm/gamma"])
    np.testing.assert_array_equal(file.float32("embeddings.word_embeddings.weight"),
                                  values["bert/embeddings/word_embeddings"])
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["model_type"] == "bert" and config["architectures"] == ["BertModel"]
    assert config["hidden_act"] == "gelu" and config["layer_norm_eps"] == 1e-12


def test_a_model_with_an_answer_head_is_one_for_question_answering(tmp_path):
    values = values_of("squad")
    convert("hf", tf1_model(tmp_path / "tf1", values), tmp_path / "hf")
    file = SafetensorsFile(str(tmp_path / "hf" / "model.safetensors"))
    assert set(file.shapes) == {"bert." + name for name in ENCODER} | {
        "qa_outputs.weight", "qa_outputs.bias"}
    np.testing.assert_array_equal(file.float32("qa_outputs.weight"),
                                  values["cls/squad/output_weights"])
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == ["BertForQuestionAnswering"]


def test_old_names_and_tensors_that_mean_nothing(tmp_path):
    values = values_of()
    tensors = {"bert." + name: value for name, value in hf_tensors(values).items()}
    for kind, old in (("weight", "gamma"), ("bias", "beta")):
        name = "bert.embeddings.LayerNorm."
        tensors[name + old] = tensors.pop(name + kind)
    tensors["embeddings.position_ids"] = np.arange(5, dtype=np.float32)
    source = hf_model(tmp_path / "hf", tensors, use_cache=True)
    model = convert("tf1", source, tmp_path / "tf1")
    path = str(tmp_path / "tf1" / "bert_model.ckpt")
    for name, value in checkpoints.read_checkpoint(path, values).items():
        assert value.tobytes() == values[name].tobytes(), name
    assert model.match.unused == ["embeddings.position_ids"] and model.match.missing == []
    report = convert_checkpoint.report(model, str(source / "vocab.txt")).splitlines()
    assert report == [
        "mapped: 39 variables; heads: none", "not used: 1 (embeddings.position_ids)",
        "keys of the configuration without a meaning here: architectures, pad_token_id, use_cache",
        "vocabulary: 8 pieces; use it with --do_lower_case=true"]


def test_a_pooler_may_be_missing(tmp_path):
    tensors = {name: value for name, value in hf_tensors(values_of("squad")).items()
               if "pooler" not in name}
    model = convert("tf1", hf_model(tmp_path / "hf", tensors), tmp_path / "tf1")
    assert model.match.lines() == [
        "mapped: 39 variables; heads: squad",
        "missing: 2 (bert/pooler/dense/bias, bert/pooler/dense/kernel)"]


def refused(tmp_path, message, to, source, **arguments):
    """Convert what cannot be; the message, and that nothing is left."""
    with pytest.raises(UserError) as caught:
        convert(to, source, tmp_path / "new" / "model", **arguments)
    assert message in str(caught.value)
    assert not os.path.exists(str(tmp_path / "new")) or not os.listdir(str(tmp_path / "new"))


def test_what_is_required_and_missing(tmp_path):
    tensors = hf_tensors(values_of("squad"))
    for name in ("bert.encoder.layer.1.output.dense.weight", "qa_outputs.bias"):
        del tensors[name]
    refused(tmp_path, "it lacks 2 (bert.encoder.layer.1.output.dense.weight, qa_outputs.bias)",
            "tf1", hf_model(tmp_path / "hf", tensors))


def test_shapes_that_do_not_fit(tmp_path):
    tensors = hf_tensors(values_of())
    name = "encoder.layer.0.intermediate.dense.weight"
    tensors[name] = tensors[name].T
    refused(tmp_path, name + ": [4, 6] in the file, [6, 4] by the configuration",
            "tf1", hf_model(tmp_path / "hf", tensors))
    values = values_of()
    values["bert/embeddings/word_embeddings"] = np.zeros([9, 4], np.float32)
    refused(tmp_path, "bert/embeddings/word_embeddings: [9, 4] in the file, [8, 4] by the",
            "hf", tf1_model(tmp_path / "tf1", values))


@pytest.mark.parametrize("change, message", [
    ({"model_type": "roberta"}, "model_type = 'roberta': this encoder has 'bert'"),
    ({"layer_norm_eps": 1e-5}, "layer_norm_eps = 1e-05"),
    ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new' is not known"),
    ({"is_decoder": True}, "is_decoder = True"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
    ({"vocab_size": "8"}, "vocab_size = '8' is not of type int"),
])
def test_a_model_of_another_kind(tmp_path, change, message):
    source = hf_model(tmp_path / "hf", hf_tensors(values_of()), **change)
    refused(tmp_path, "config.json: ", "tf1", source)
    refused(tmp_path, message, "tf1", source)


def test_a_vocabulary_of_another_model(tmp_path):
    source = hf_model(tmp_path / "hf", hf_tensors(values_of()))
    write_vocabulary(source, PIECES + ["d"])
    refused(tmp_path, "has 9 word pieces, but the model's configuration says vocab_size 8", "tf1",
            source)


def test_a_vocabulary_that_is_shorter_than_the_table(tmp_path):
    source = hf_model(tmp_path / "hf", hf_tensors(values_of()))
    write_vocabulary(source, PIECES[:-1])
    model = convert_checkpoint.convert("tf1", str(source), str(tmp_path / "tf1"))
    assert len(model.values["bert/embeddings/word_embeddings"]) == 8
    report = convert_checkpoint.report(model, str(tmp_path / "tf1" / "vocab.txt"))
    assert "vocabulary: 7 pieces" in report


def test_weights_that_are_no_float32(tmp_path):
    values = dict(values_of(), **{"bert/pooler/dense/bias": np.zeros([4], np.float64)})
    refused(tmp_path, "'bert/pooler/dense/bias' is of type float64", "hf",
            tf1_model(tmp_path / "tf1", values))


def test_a_directory_that_is_in_use_stays_as_it_is(tmp_path):
    source = hf_model(tmp_path / "hf", hf_tensors(values_of()))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(UserError, match="exists; give a directory that is new or empty"):
        convert("tf1", source, tmp_path / "used")
    assert os.listdir(str(tmp_path / "used")) == ["file"]
    (tmp_path / "empty").mkdir()
    convert("tf1", source, tmp_path / "empty")
    assert sorted(os.listdir(str(tmp_path / "empty"))) == [
        "bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index",
        "vocab.txt"]


def test_capital_letters_are_told_from_special_pieces(tmp_path):
    path = tmp_path / "vocab.txt"
    for pieces, expected in ((PIECES, True), (PIECES[:-1] + ["C"], False)):
        write_vocabulary(tmp_path, pieces)
        assert convert_checkpoint.is_lower_case(str(path)) is expected


def test_the_command_line_and_a_checkpoint_of_fine_tuning(tmp_path):
    values = values_of("squad")
    values["bert/pooler/dense/bias/adam_m"] = values["bert/pooler/dense/bias"]
    source = tf1_model(tmp_path / "tf1", values, name="model.ckpt-7")
    argv = ["-W", "ignore", os.path.join(ROOT, "examples", "bert", "convert_checkpoint.py"),
            str(source), str(tmp_path / "hf"), "--to=hf", "--verbose",
            "--checkpoint=" + str(source / "model.ckpt-7")]
    done = warm.run(argv, environment_for(), 120, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "cls/squad/output_weights  qa_outputs.weight" in lines
    assert "mapped: 41 variables; heads: squad" in lines
    assert "not used: 1 (bert/pooler/dense/bias/adam_m)" in lines
    again = warm.run(argv, environment_for(), 120, stderr=subprocess.PIPE, text=True)
    assert again.returncode == 1 and "Traceback" not in again.stderr
    assert "error: '{}' exists".format(tmp_path / "hf") in again.stderr
