# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The sizes of a BERT model, as `bert_config.json` gives them."""

import dataclasses
from typing import Any, Dict, cast

from examples.bert.errors import UserError
from examples.bert.files import read_json

# Some public configurations carry these as well; nothing in this model depends on them.
_WITHOUT_EFFECT = frozenset([
    "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type"])
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT model.

    Attributes:
      vocab_size: number of word pieces.
      hidden_size: width of the hidden states; a multiple of `num_attention_heads`.
      num_hidden_layers: encoder layers.
      num_attention_heads: attention heads of each layer.
      intermediate_size: width of the layer inside each encoder layer.
      max_position_embeddings: longest sequence.
      type_vocab_size: number of segments.
      hidden_dropout_prob: dropout rate of embeddings and dense layers, in [0, 1).
      attention_probs_dropout_prob: dropout rate of attention weights, in [0, 1).
      hidden_act: the activation function; "gelu".
      initializer_range: standard deviation of initial weights.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    hidden_act: str = "gelu"
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), cast(type, field.type))
        if self.hidden_size % self.num_attention_heads:
            raise UserError("hidden_size {} is not a multiple of num_attention_heads {}".format(
                self.hidden_size, self.num_attention_heads))
        if self.hidden_act != "gelu":
            raise UserError("hidden_act '{}' is not known; this model has 'gelu'".format(
                self.hidden_act))

    def layers_per_stage(self, num_stages: int) -> int:
        """Encoder layers of each stage when `num_stages` of equal size hold them all.

        Raises:
          UserError: they cannot be divided.
        """
        layers = self.num_hidden_layers
        if layers % num_stages:
            divisors = [n for n in range(1, layers + 1) if layers % n == 0]
            raise UserError("num_hidden_layers {} cannot be divided into {} equal stages; give "
                            "--num_pipe_stages one of {}".format(
                                layers, num_stages, ", ".join(map(str, divisors))))
        return layers // num_stages

    @classmethod
    def from_json_file(cls, path: str) -> "BertConfig":
        """Read a `bert_config.json`.

        Raises:
          UserError: a file that cannot be read; an unknown or a missing key; a value that does not
            fit. The message names the file and the key.
        """
        values = read_json(path)
        try:
            return cls.from_values(values)
        except UserError as error:
            raise UserError("{}: {}".format(path, error)) from None

    @classmethod
    def from_values(cls, values: Any) -> "BertConfig":
        """The sizes that the JSON value of a `bert_config.json` gives.

        Raises:
          UserError: as `from_json_file`, without the file.
        """
        return cls(**_known(values))


def _known(values: Any) -> Dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError("an object with the model's sizes is needed, not {}".format(
            type(values).__name__))
    fields = dataclasses.fields(BertConfig)
    names = {field.name for field in fields}
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    unknown = sorted(set(values) - names - _WITHOUT_EFFECT)
    missing = sorted(required - set(values))
    if unknown:
        raise UserError("unknown key '{}'; known: {}".format(
            "', '".join(unknown), ", ".join(sorted(names))))
    if missing:
        raise UserError("the key '{}' is missing".format("', '".join(missing)))
    return {name: values[name] for name in names if name in values}


def _check(name: str, value: Any, wanted: type) -> None:
    allowed: Any = (int, float) if wanted is float else wanted
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise UserError("{} = {!r} is not of type {}".format(name, value, wanted.__name__))
    if name in _RATES:
        if not 0 <= value < 1:
            raise UserError("{} = {} is not in [0, 1)".format(name, value))
    elif not isinstance(value, str) and value <= 0:
        raise UserError("{} = {} must be greater than 0".format(name, value))
