# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How a BERT model of Hugging Face is laid out, beside a TensorFlow 1 checkpoint.

    TensorFlow 1                                       Hugging Face
    bert_config.json                                   config.json
    bert/embeddings/word_embeddings                    embeddings.word_embeddings.weight
    bert/encoder/layer_0/attention/self/query/kernel   encoder.layer.0.attention.self.query.weight
    bert/encoder/layer_0/output/LayerNorm/gamma        encoder.layer.0.output.LayerNorm.weight
    bert/encoder/layer_0/output/LayerNorm/beta         encoder.layer.0.output.LayerNorm.bias
    cls/squad/output_weights                           qa_outputs.weight

A kernel is stored there with its axes exchanged. A model with a head has "bert." before the names
of its encoder; old ones say LayerNorm.gamma and LayerNorm.beta.
"""

import dataclasses
import re
from typing import Any, Dict, Iterable, List, Tuple

from examples.bert.bert_config import BertConfig
from examples.bert.errors import UserError

_PREFIX = "bert."
_HEADS = {
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}
_ENDINGS = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
# What a model of `modeling.py` has; a configuration that says anything else is of another model.
_FIXED = {"model_type": "bert", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute",
          "is_decoder": False, "add_cross_attention": False}


def is_transposed(variable: str) -> bool:
    """Whether the axes of a TensorFlow variable are exchanged there."""
    return variable.endswith("/kernel")


def name_of(variable: str) -> str:
    """The name there of a TensorFlow variable, with "bert." if it is the encoder's."""
    if variable in _HEADS:
        return _HEADS[variable]
    scopes, _, last = re.sub(r"/layer_(\d+)/", r"/layer/\1/", variable).rpartition("/")
    ending = last + "/weight" if last.endswith("_embeddings") else _ENDINGS.get(last, last)
    return "{}/{}".format(scopes, ending).replace("/", ".")


def spellings_of(variable: str) -> List[str]:
    """All names under which a TensorFlow variable may be found there."""
    names = [name_of(variable)]
    last = variable.rpartition("/")[2]
    if last in ("gamma", "beta"):
        names.append("{}.{}".format(names[0].rpartition(".")[0], last))
    return names + [name[len(_PREFIX):] for name in names if name.startswith(_PREFIX)]


def names_to_write(variables: Iterable[str]) -> Dict[str, str]:
    """For each of a model's TensorFlow variables, the name to write it under."""
    names = {variable: name_of(variable) for variable in variables}
    if all(name.startswith(_PREFIX) for name in names.values()):
        return {variable: name[len(_PREFIX):] for variable, name in names.items()}
    return names


def architecture_of(variables: Iterable[str]) -> str:
    """The class there that has all these variables or, if none has, the answer head's."""
    heads = {variable.split("/")[1] for variable in variables if variable.startswith("cls/")}
    if "squad" in heads:
        return "BertForQuestionAnswering"
    return "BertForPreTraining" if heads else "BertModel"


def config_from(values: Any) -> Tuple[BertConfig, List[str]]:
    """What a `config.json` says.

    Args:
      values: its JSON value.

    Returns:
      (sizes, the keys that mean nothing to this model).

    Raises:
      UserError: it is not one of a model that `modeling.py` can build.
    """
    if not isinstance(values, dict):
        raise UserError("an object with the model's sizes is needed, not {}".format(
            type(values).__name__))
    for key, wanted in _FIXED.items():
        if values.get(key, wanted) != wanted:
            raise UserError("{} = {!r}: this encoder has {!r} and nothing else".format(
                key, values[key], wanted))
    known = {field.name for field in dataclasses.fields(BertConfig)}
    config = BertConfig.from_values({key: values[key] for key in values if key in known})
    return config, sorted(set(values) - known - set(_FIXED))


def config_to_write(config: BertConfig, architecture: str) -> Dict[str, Any]:
    """The value of a `config.json`."""
    values: Dict[str, Any] = dict(dataclasses.asdict(config), **_FIXED)
    return dict(values, architectures=[architecture], pad_token_id=0)
