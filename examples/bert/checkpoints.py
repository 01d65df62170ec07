# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in TensorFlow 1's format: reading, writing, and starting a model from one."""

import os
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import tensorflow.compat.v1 as tf

from examples.bert import modeling
from examples.bert.checkpoint_index import check_index
from examples.bert.errors import UserError
from examples.bert.files import read_text

_ENCODER = "bert/"
# The first position through one more layer. Answers are found without it, and models that were
# trained for that alone do not have it.
_POOLER = "bert/pooler/"
_NAMES_SHOWN = 10
_STATE_FILE = "checkpoint"


def latest_checkpoint(directory: str) -> Optional[str]:
    """The last checkpoint that training in `directory` has written; None if there is none.

    TensorFlow itself takes a file that it cannot read for none, and would begin anew.

    Raises:
      UserError: the file that names it is damaged, or names one that is not there.
    """
    named = os.path.join(directory, _STATE_FILE)
    if not os.path.lexists(named):
        return None
    read_text(named)
    try:
        path = tf.train.latest_checkpoint(directory)
    except (tf.errors.OpError, ValueError):
        path = None
    if path is None:
        raise UserError("'{}' names no checkpoint that is there; write 'model_checkpoint_path: "
                        "\"model.ckpt-N\"' into it, or remove it to begin anew".format(named))
    return str(path)


def checkpoint_shapes(path: str) -> Dict[str, List[int]]:
    """The name and shape of every variable in a checkpoint.

    Raises:
      UserError: no checkpoint can be read there.
    """
    if os.path.lexists(path + ".index"):  # older formats have none
        check_index(path + ".index")
    try:
        return {name: list(shape) for name, shape in tf.train.list_variables(path)}
    except (tf.errors.OpError, ValueError) as error:
        raise UserError("cannot read the checkpoint '{}' (give its path without .index or .data, "
                        "e.g. DIR/bert_model.ckpt): {}".format(
                            path, str(error).splitlines()[0])) from None


def read_checkpoint(path: str, names: Iterable[str]) -> Dict[str, Any]:
    """The values, numpy arrays, of the variables `names`, all of which are in the checkpoint.

    Raises:
      UserError: they cannot be read, e.g. because the file is not complete.
    """
    return dict(_values(path, names))


def _values(path: str, names: Iterable[str]) -> Iterator[Tuple[str, Any]]:
    """(name, value) of each variable; see `read_checkpoint`."""
    if os.path.lexists(path + ".index"):
        check_index(path + ".index")
    try:
        reader = tf.train.load_checkpoint(path)
        for name in names:
            yield name, reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, IndexError) as error:  # TensorFlow 2: bytes are missing.
        raise UserError("cannot read the checkpoint '{}': {}".format(
            path, str(error).splitlines()[0])) from None


def write_checkpoint(path: str, values: Dict[str, Any]) -> None:
    """Write numpy arrays under their names as a checkpoint, e.g. `DIR/bert_model.ckpt`."""
    names = sorted(values)
    no_gpu = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=no_gpu) as session:
        # Fed, not constants: a graph holds at most 2 GB.
        tensors = [tf.placeholder(values[name].dtype, values[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(prefix=path, tensor_names=names, tensors=tensors,
                                 shape_and_slices=[""] * len(names))
        session.run(save, dict(zip(tensors, (values[name] for name in names))))


def model_shapes(config: modeling.BertConfig) -> Dict[str, List[int]]:
    """The name and shape of every variable of the encoder and of the answer head."""
    with tf.Graph().as_default():
        ids = tf.placeholder(tf.int32, [None, 1])
        encoded = modeling.bert(config, ids, ids, ids, False)
        modeling.span_logits(config, encoded.sequence_output)
        return {variable.op.name: variable.shape.as_list() for variable in tf.trainable_variables()}


def is_required(name: str) -> bool:
    """Whether a model without this variable's pre-trained value is not worth training."""
    return name.startswith(_ENCODER) and not name.startswith(_POOLER)


def shortened(names: Iterable[str]) -> str:
    """The number of `names`, and the first of them."""
    names = sorted(names)
    shown = ", ".join(names[:_NAMES_SHOWN])
    return "{} ({}{})".format(len(names), shown, ", ..." if len(names) > _NAMES_SHOWN else "")


def initialize_from(path: str, variables: List[Any]) -> str:
    """Make `variables` start with their values in a checkpoint instead of random ones.

    Args:
      path: the checkpoint, a prefix such as `DIR/bert_model.ckpt`.
      variables: the model's variables; heads and the pooler that the checkpoint lacks keep their
        initial values.

    Returns:
      A report for people: what was loaded, what is missing there, what of it is not used.

    Raises:
      UserError: the checkpoint lacks variables of the encoder, has some in another shape, or is
        damaged.
    """
    stored = checkpoint_shapes(path)
    wanted = {variable.op.name: variable.shape.as_list() for variable in variables}
    found = sorted(set(wanted) & set(stored))
    _check_fit(path, stored, wanted, found)
    for _ in _values(path, found):  # What cannot be read is to be found before the session starts.
        pass
    tf.train.init_from_checkpoint(path, {name: name for name in found})
    lines = ["{} of {} variables start from {}".format(len(found), len(wanted), path)]
    lines.extend("  random: {}".format(name) for name in sorted(set(wanted) - set(found)))
    unused = set(stored) - set(wanted)
    if unused:
        lines.append("  not used: {}".format(shortened(unused)))
    return "\n".join(lines)


def _check_fit(path: str, stored: Dict[str, List[int]], wanted: Dict[str, List[int]],
               found: List[str]) -> None:
    if not found:
        raise UserError("the checkpoint '{}' holds none of the model's variables; it has {}".format(
            path, shortened(stored)))
    different = ["{}: {} in the checkpoint, {} in the model".format(n, stored[n], wanted[n])
                 for n in found if stored[n] != wanted[n]]
    if different:
        raise UserError("the checkpoint '{}' does not fit the model's configuration:\n  {}".format(
            path, "\n  ".join(different)))
    missing = [name for name in sorted(set(wanted) - set(found)) if is_required(name)]
    if missing:
        raise UserError("the checkpoint '{}' is not one of the model's configuration: it lacks {}"
                        .format(path, shortened(missing)))
