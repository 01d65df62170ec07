# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which of a model's variables a file of weights holds, and under which names.

Variables are called as in the public TensorFlow 1 checkpoints.
"""

from typing import Callable, Dict, List, NamedTuple

from examples.bert.bert_config import BertConfig
from examples.bert.checkpoints import is_required, model_shapes, shortened
from examples.bert.errors import UserError

Shapes = Dict[str, List[int]]


class Match(NamedTuple):
    """What was found.

    Attributes:
      names: for every variable that was found, its name in the file.
      missing: variables that were not found, and without which the model can be trained.
      unused: names in the file that stand for no variable.
    """

    names: Dict[str, str]
    missing: List[str]
    unused: List[str]

    def lines(self) -> List[str]:
        """A report for people."""
        heads = sorted({name.split("/")[1] for name in self.names if name.startswith("cls/")})
        lines = ["mapped: {} variables; heads: {}".format(
            len(self.names), ", ".join(heads) or "none")]
        if self.missing:
            lines.append("missing: {}".format(shortened(self.missing)))
        if self.unused:
            lines.append("not used: {}".format(shortened(self.unused)))
        return lines


def variables_of(config: BertConfig) -> Shapes:
    """The name and shape of every variable that a model of this size may have."""
    hidden, vocabulary = config.hidden_size, config.vocab_size
    return dict(model_shapes(config), **{
        "cls/predictions/output_bias": [vocabulary],
        "cls/predictions/transform/dense/kernel": [hidden, hidden],
        "cls/predictions/transform/dense/bias": [hidden],
        "cls/predictions/transform/LayerNorm/gamma": [hidden],
        "cls/predictions/transform/LayerNorm/beta": [hidden],
        "cls/seq_relationship/output_weights": [2, hidden],
        "cls/seq_relationship/output_bias": [2],
    })


def match(path: str, variables: Shapes, stored: Shapes,
          spellings_of: Callable[[str], List[str]] = lambda variable: [variable],
          is_transposed: Callable[[str], bool] = lambda variable: False) -> Match:
    """Find variables in a file.

    Args:
      path: the file, for messages.
      variables: what to find; what begins with "cls/" may be missing head by head.
      stored: what the file holds.
      spellings_of: the names under which a variable may be stored.
      is_transposed: whether a variable is stored with its axes exchanged.

    Raises:
      UserError: variables that are missing and required, or of another shape.
    """
    names: Dict[str, str] = {}
    for variable in variables:
        for name in spellings_of(variable):
            if name in stored:
                names.setdefault(variable, name)
    different = []
    for variable, name in sorted(names.items()):
        wanted = variables[variable][::-1] if is_transposed(variable) else variables[variable]
        if stored[name] != wanted:
            different.append("{}: {} in the file, {} by the configuration".format(
                name, stored[name], wanted))
    if different:
        raise UserError("'{}' does not fit the model's configuration:\n  {}".format(
            path, "\n  ".join(different)))
    missing = _missing(variables, names)
    required = [spellings_of(variable)[0] for variable in missing
                if is_required(variable) or variable.startswith("cls/")]
    if required:
        raise UserError("'{}' does not hold the model of its configuration: it lacks {}".format(
            path, shortened(required)))
    return Match(names, missing, sorted(set(stored) - set(names.values())))


def _missing(variables: Shapes, names: Dict[str, str]) -> List[str]:
    """Variables without a name, except those of heads that are not there at all."""
    heads = {_head(variable) for variable in names}
    return sorted(variable for variable in variables
                  if variable not in names and _head(variable) in heads | {""})


def _head(variable: str) -> str:
    """The scope of the head that a variable is part of; "" for the encoder."""
    return "/".join(variable.split("/")[:2]) if variable.startswith("cls/") else ""
