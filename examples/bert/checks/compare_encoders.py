# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare this example's encoder with that of PyTorch/Transformers, on the same weights and texts.

The two need different environments, so there are two steps. The first writes the hidden states of
Transformers' model to a file; the second computes those of `modeling.py` and compares them:

    python -m venv DIR && DIR/bin/pip install torch transformers
    DIR/bin/python examples/bert/checks/compare_encoders.py reference HF_DIRECTORY FILE.npz
    python examples/bert/checks/compare_encoders.py compare TF1_DIRECTORY FILE.npz

`convert_checkpoint.py` makes either directory of the other. The texts are questions and paragraphs:
those of the embedded sample, or of a file in SQuAD format (`--texts`), one pair of every paragraph.
Dropout is off. What is compared is every position of every sequence but the padding, after the
embeddings and after every layer, and the pooler's output. Exit code 0 means that no number differs
by more than 1e-5.

Nothing reads what stands at padding, and no model is trained for it: there, differences of rounding
may grow from layer to layer. They are shown and do not count. Transformers also computes in double
precision, which tells whose rounding a difference is. TensorFlow 2 rounds more with the matrix
products of oneDNN, which are therefore switched off here; TF_ENABLE_ONEDNN_OPTS=1 leaves them on.
"""

import argparse
import os
import sys
from typing import Any, Dict, Iterator, List, Tuple

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..")))
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

from examples.bert.errors import UserError, exit_code
from examples.bert.files import read_json
from examples.bert.tokenization import CLASSIFY, SEPARATE, Tokenizer, Vocabulary

_SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "sample", "dev.json")
_TOLERANCE = 1e-5
_INPUTS = ("input_ids", "input_mask", "segment_ids")
_BATCH = 16


def pairs_of(path: str) -> Iterator[Tuple[str, str]]:
    """(question, paragraph) for every paragraph of a file in SQuAD format."""
    for article in read_json(path)["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["qas"][0]["question"], paragraph["context"]


def inputs_of(pairs: List[Tuple[str, str]], vocabulary: str, length: int) -> Dict[str, Any]:
    """The arrays that an encoder reads, int32 [number of pairs, length] each."""
    pieces = Vocabulary(vocabulary)
    tokenizer = Tokenizer(pieces)
    arrays = {name: np.zeros([len(pairs), length], np.int32) for name in _INPUTS}
    for row, (question, paragraph) in enumerate(pairs):
        first = [CLASSIFY] + [token.piece for token in tokenizer.tokenize(question)] + [SEPARATE]
        second = [token.piece for token in tokenizer.tokenize(paragraph)]
        text = (first + second)[:length - 1] + [SEPARATE]
        arrays["input_ids"][row, :len(text)] = pieces.ids(text)
        arrays["input_mask"][row, :len(text)] = 1
        arrays["segment_ids"][row, len(first):len(text)] = 1
    return arrays


def states_of_transformers(directory: str, inputs: Dict[str, Any], double: bool) -> List[Any]:
    """Hidden states [rows, positions, width] of every layer, and the pooler's output."""
    import torch  # Only this step has it; the other has TensorFlow.
    import transformers
    model = transformers.BertModel.from_pretrained(directory, attn_implementation="eager").eval()
    model = model.double() if double else model
    rows = len(inputs["input_ids"])
    batches = []
    with torch.no_grad():
        for first in range(0, rows, _BATCH):
            ids, mask, segments = [
                torch.tensor(inputs[name][first:first + _BATCH], dtype=torch.long)
                for name in _INPUTS]
            output = model(input_ids=ids, attention_mask=mask, token_type_ids=segments,
                           output_hidden_states=True)
            batches.append([state.numpy() for state in output.hidden_states]
                           + [output.pooler_output.numpy()])
    return [np.concatenate(parts) for parts in zip(*batches)]


def states_of_tensorflow(directory: str, inputs: Dict[str, Any]) -> List[Any]:
    """The same by `modeling.py`."""
    import tensorflow.compat.v1 as tf  # Only this step has it; the other has PyTorch.

    from examples.bert import checkpoints, modeling
    config = modeling.BertConfig.from_json_file(os.path.join(directory, "bert_config.json"))
    rows, length = inputs["input_ids"].shape
    if length > config.max_position_embeddings:
        raise UserError("'{}' has {} positions, the texts have {}: give --length".format(
            directory, config.max_position_embeddings, length))
    batches = []
    with tf.Graph().as_default(), tf.Session() as session:
        fed = [tf.placeholder(tf.int32, [None, length]) for _ in _INPUTS]
        encoded = modeling.bert(config, fed[0], fed[1], fed[2], training=False)
        print(checkpoints.initialize_from(os.path.join(directory, "bert_model.ckpt"),
                                          tf.trainable_variables()))
        session.run(tf.global_variables_initializer())
        for first in range(0, rows, _BATCH):
            batches.append(session.run(
                encoded.hidden_states + [encoded.pooled_output],
                {tensor: inputs[name][first:first + _BATCH] for tensor, name in zip(fed, _INPUTS)}))
    return [np.concatenate(parts).reshape(
        [rows, length, -1] if number < len(encoded.hidden_states) else [rows, -1])
            for number, parts in enumerate(zip(*batches))]


def write_reference(flags: argparse.Namespace) -> None:
    """Write texts, and what Transformers makes of them."""
    pairs = list(pairs_of(flags.texts))[:flags.rows]
    if not pairs:
        raise UserError("'{}' holds no paragraphs".format(flags.texts))
    inputs = inputs_of(pairs, os.path.join(flags.directory, "vocab.txt"), flags.length)
    arrays = dict(inputs)
    for precision in ("single", "double"):
        states = states_of_transformers(flags.directory, inputs, precision == "double")
        arrays.update({"{}_{:03d}".format(precision, number): state
                       for number, state in enumerate(states)})
    np.savez(flags.file, **arrays)
    print("wrote {}: {} texts of {} positions, {} of them not padding, {} layers".format(
        flags.file, len(pairs), flags.length, int(inputs["input_mask"].sum()), len(states) - 2))


def compare(flags: argparse.Namespace) -> None:
    """Compare with a reference; ends the program with 1 if numbers differ."""
    with np.load(flags.file) as file:
        inputs = {name: file[name] for name in _INPUTS}
        single, double = [[file[name] for name in sorted(file.files) if name.startswith(precision)]
                          for precision in ("single", "double")]
    found = states_of_tensorflow(flags.directory, inputs)
    if len(found) != len(single):
        raise UserError("'{}' has {} layers, '{}' has {}: these are different models".format(
            flags.directory, len(found) - 2, flags.file, len(single) - 2))
    names = ["embeddings"] + ["layer {}".format(n) for n in range(len(found) - 2)] + ["pooler"]
    print("{:<12}{:>9}    largest absolute difference\n{:<12}{:>9}{}".format(
        "", "largest", "", "value", "".join("{:>19}".format(column) for column in (
            "to Transformers", "to its double", "between these two", "at padding"))))
    texts = inputs["input_mask"].astype(bool)
    padding, worst = ~texts, 0.0
    for name, ours, theirs, exact in zip(names, found, single, double):
        where = texts if ours.ndim == 3 else slice(None)
        differences = [_largest((one - other)[where])
                       for one, other in ((ours, theirs), (ours, exact), (theirs, exact))]
        if ours.ndim == 3 and padding.any():
            differences.append(_largest((ours - theirs)[padding]))
        print("{:<12}{:>9.3f}{}".format(name, _largest(theirs[where]), "".join(
            "{:>19.2e}".format(difference) for difference in differences)))
        worst = max(worst, differences[0])
    agrees = worst <= _TOLERANCE
    print("{}: {:.2e}, at most {:.0e} is allowed".format(
        "the same" if agrees else "DIFFERENT", worst, _TOLERANCE), flush=True)
    if not agrees:
        sys.exit(1)


def _largest(values: Any) -> float:
    """The largest absolute value; infinite if some are not numbers."""
    largest = float(np.abs(values).max())
    return largest if np.isfinite(largest) else float("inf")


def main() -> None:
    """Run the step that the command line says."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", metavar="reference|compare")
    for name, step in (("reference", write_reference), ("compare", compare)):
        arguments = steps.add_parser(name)
        arguments.set_defaults(run=step)
        arguments.add_argument("directory", help="the model")
        arguments.add_argument("file", help="hidden states, FILE.npz")
        if step is write_reference:
            arguments.add_argument("--texts", help="a file in SQuAD format",
                                   default=_SAMPLE)
            arguments.add_argument("--rows", type=int, default=64, help="paragraphs at most")
            arguments.add_argument("--length", type=int, default=256, help="positions of a text")
    flags = parser.parse_args()
    if not flags.step:
        parser.error("say which step: reference or compare")
    flags.run(flags)


if __name__ == "__main__":
    sys.exit(exit_code(main))
