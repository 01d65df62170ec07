# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Convert a BERT model between the layouts of TensorFlow 1 and of Hugging Face.

    convert_checkpoint.py --to tf1 HUGGING_FACE_DIRECTORY NEW_DIRECTORY
    convert_checkpoint.py --to hf TENSORFLOW_DIRECTORY NEW_DIRECTORY

    TensorFlow 1    bert_model.ckpt.*     bert_config.json    vocab.txt
    Hugging Face    model.safetensors     config.json         vocab.txt

The encoder is converted, and the heads for answers and for pre-training if the model has them.
Weights keep their bits. The new directory appears when all is in it.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # The report is not to drown.

import numpy as np

from examples.bert import checkpoints, huggingface
from examples.bert.bert_config import BertConfig
from examples.bert.errors import UserError, exit_code
from examples.bert.files import read_json, write_json
from examples.bert.safetensors_file import SafetensorsFile, write_safetensors
from examples.bert.tokenization import Vocabulary
from examples.bert.weights import Match, match, variables_of

_CHECKPOINT, _BERT_CONFIG = "bert_model.ckpt", "bert_config.json"
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_VOCABULARY = "vocab.txt"


class Model(NamedTuple):
    """A model in memory.

    Attributes:
      config: its sizes.
      values: float32 arrays by the names of TensorFlow's variables.
      match: where they were found.
      ignored: keys of its configuration that mean nothing here.
    """

    config: BertConfig
    values: Dict[str, Any]
    match: Match
    ignored: List[str]


def read_tf1(directory: str, checkpoint: Optional[str] = None) -> Model:
    """Read a model in TensorFlow's layout.

    Args:
      directory: where its files are.
      checkpoint: a checkpoint that is not `bert_model.ckpt` there.

    Raises:
      UserError: a file that cannot be read, or weights that do not fit the configuration.
    """
    config = BertConfig.from_json_file(os.path.join(directory, _BERT_CONFIG))
    path = checkpoint or os.path.join(directory, _CHECKPOINT)
    found = match(path, variables_of(config), checkpoints.checkpoint_shapes(path))
    values = checkpoints.read_checkpoint(path, found.names)
    for name, value in values.items():
        if value.dtype != np.float32:
            raise UserError("'{}': '{}' is of type {}, but weights are of type float32".format(
                path, name, value.dtype))
    return Model(config, values, found, [])


def read_hf(directory: str) -> Model:
    """Read a model in Hugging Face's layout; raises UserError as `read_tf1`."""
    config_path = os.path.join(directory, _CONFIG)
    try:
        config, ignored = huggingface.config_from(read_json(config_path))
    except UserError as error:
        raise UserError("{}: {}".format(config_path, error)) from None
    path = os.path.join(directory, _WEIGHTS)
    file = SafetensorsFile(path)
    found = match(path, variables_of(config), file.shapes, huggingface.spellings_of,
                  huggingface.is_transposed)
    values = {}
    for variable, name in found.names.items():
        value = file.float32(name)
        values[variable] = value.T if huggingface.is_transposed(variable) else value
    return Model(config, values, found, ignored)


def write_tf1(directory: str, model: Model) -> None:
    """Write a model in TensorFlow's layout."""
    checkpoints.write_checkpoint(os.path.join(directory, _CHECKPOINT), model.values)
    write_json(os.path.join(directory, _BERT_CONFIG), dataclasses.asdict(model.config))


def write_hf(directory: str, model: Model, lower_case: bool) -> None:
    """Write a model in Hugging Face's layout; `lower_case`: its vocabulary has no capitals."""
    names = huggingface.names_to_write(model.values)
    write_safetensors(os.path.join(directory, _WEIGHTS), {
        name: model.values[variable].T if huggingface.is_transposed(variable)
        else model.values[variable] for variable, name in names.items()})
    write_json(os.path.join(directory, _CONFIG), huggingface.config_to_write(
        model.config, huggingface.architecture_of(model.values)))
    write_json(os.path.join(directory, "tokenizer_config.json"), {
        "do_lower_case": lower_case, "model_max_length": model.config.max_position_embeddings,
        "tokenizer_class": "BertTokenizer"})


def convert(to: str, source: str, target: str, checkpoint: Optional[str] = None) -> Model:
    """Convert the model in the directory `source` to the new directory `target`.

    Args:
      to: "tf1" or "hf".
      source: a directory with a model in the other layout.
      target: a directory that does not exist yet, or is empty.
      checkpoint: see `read_tf1`.

    Raises:
      UserError: see `read_tf1` and `read_hf`; or `target` holds something.
    """
    if os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target)):
        raise UserError("'{}' exists; give a directory that is new or empty".format(target))
    model = read_hf(source) if to == "tf1" else read_tf1(source, checkpoint)
    vocabulary = os.path.join(source, _VOCABULARY)
    pieces = Vocabulary(vocabulary)
    if len(pieces) > model.config.vocab_size:
        raise UserError("'{}' has {} word pieces, but the model's configuration says vocab_size {}"
                        .format(vocabulary, len(pieces), model.config.vocab_size))
    try:
        _write(to, os.path.realpath(target), model, vocabulary)
    except OSError as error:
        raise UserError("cannot write '{}': {}".format(target, error.strerror)) from None
    return model


def _write(to: str, target: str, model: Model, vocabulary: str) -> None:
    """Write the directory `target`, which appears when all is in it."""
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".converting-") as scratch:
        new = os.path.join(scratch, "model")
        os.mkdir(new)
        shutil.copyfile(vocabulary, os.path.join(new, _VOCABULARY))
        if to == "tf1":
            write_tf1(new, model)
        else:
            write_hf(new, model, is_lower_case(vocabulary))
        os.rename(new, target)


def is_lower_case(vocabulary: str) -> bool:
    """Whether a `vocab.txt` has no capital letters, apart from those of its special pieces."""
    with open(vocabulary, encoding="utf-8") as file:
        pieces = file.read().split("\n")
    return all(piece == piece.lower() or piece.startswith("[") for piece in pieces)


def report(model: Model, vocabulary: str) -> str:
    """What was mapped, what is missing and what is not used, for people."""
    lines = model.match.lines()
    if model.ignored:
        lines.append("keys of the configuration without a meaning here: {}".format(
            ", ".join(model.ignored)))
    lines.append("vocabulary: {} pieces; use it with --do_lower_case={}".format(
        len(Vocabulary(vocabulary)), str(is_lower_case(vocabulary)).lower()))
    return "\n".join(lines)


def main(arguments: Optional[List[str]] = None) -> None:
    """Convert as the command line says and print what became of every weight."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, choices=["tf1", "hf"], help="the new layout")
    parser.add_argument("--checkpoint", help="with --to hf: a checkpoint of fine-tuning, e.g. "
                                             "OUTPUT/model.ckpt-500, in place of bert_model.ckpt")
    parser.add_argument("--verbose", action="store_true", help="also print every mapped name")
    parser.add_argument("source", help="directory of the model")
    parser.add_argument("target", help="new directory")
    flags = parser.parse_args(arguments)
    if flags.checkpoint and flags.to != "hf":
        raise UserError("--checkpoint names a TensorFlow checkpoint: it needs --to hf")
    model = convert(flags.to, flags.source, flags.target, flags.checkpoint)
    if flags.verbose:
        for variable, name in sorted(model.match.names.items()):
            other = name if flags.to == "tf1" else huggingface.names_to_write(
                model.values)[variable]
            print("{}  {}".format(variable, other))
    print("{} -> {}".format(flags.source, flags.target))
    print(report(model, os.path.join(flags.target, _VOCABULARY)), flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
