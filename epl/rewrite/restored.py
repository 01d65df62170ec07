# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint gives to variables of which workers hold some rows: each reads its own.

    RestoreV2("table/Adam", "")               --> rows 0 to 23 --> Assign
    RestoreV2("table/Adam", "50 8 0,24:0,8")                   --> Assign

The second reads no more than these rows from the file.
"""

from typing import Any, Dict, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError
from epl.ir import editor
from epl.ir.ownership import Rows

_SCOPE = "epl/zero/restored"


class Source(NamedTuple):
    """Where an assignment takes its value from.

    Attributes:
      op: reads the checkpoint.
      number: of the value among what it reads.
      name: of the tensor in the checkpoint.
    """

    op: Any
    number: int
    name: str

    @property
    def prefix(self) -> Any:
        """The tensor that holds the name of the checkpoint."""
        return self.op.inputs[0]


class Stored(NamedTuple):
    """A value in a checkpoint.

    Attributes:
      prefix: the name of the checkpoint.
      name: of the tensor in it.
      shape: of the whole value.
    """

    prefix: str
    name: str
    shape: Any

    def read(self) -> Any:
        """The value.

        Raises:
          ConfigError: it is there no longer.
        """
        try:
            return tf.train.load_checkpoint(self.prefix).get_tensor(self.name)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise ConfigError(
                "the checkpoint {} was restored, and its '{}' cannot be read any more to give each "
                "worker its rows (zero.level): keep it until the first step after that ({})".format(
                    self.prefix, self.name, error)) from error


def source_of(assignment: Any) -> Optional[Source]:
    """Where an assignment takes its value from, if nothing else reads it, and it is a whole one."""
    tensor, user = assignment.inputs[1], assignment
    while tensor.consumers() == [user] and tensor.op.type == "Identity":
        tensor, user = tensor.op.inputs[0], tensor.op
    if tensor.op.type != "RestoreV2" or tensor.consumers() != [user]:
        return None
    names, slices = [tf.get_static_value(t) for t in tensor.op.inputs[1:3]]
    if names is None or slices is None or slices[tensor.value_index]:
        return None
    return Source(tensor.op, tensor.value_index, names[tensor.value_index].decode())


def read_rows(wanted: Dict[Source, Any]) -> None:
    """Let checkpoints be read in parts.

    Args:
      wanted: what is restored -> (shape of the whole, the rows to read).
    """
    by_op: Dict[Any, List[Source]] = {}
    for source in wanted:
        by_op.setdefault(source.op, []).append(source)
    for op, sources in by_op.items():
        slices = list(tf.get_static_value(op.inputs[2]))
        for source in sources:
            slices[source.number] = _spec(*wanted[source])
        with compat.inserted(op.graph, "{}/{}".format(_SCOPE, op.name)), \
                tf.device(op.device or None):
            editor.replace_input(op, op.inputs[2], tf.constant(slices, tf.string))


def _spec(shape: List[int], rows: Rows) -> str:
    """As TensorFlow writes it; there is no word for no rows, so one is read then."""
    parts = [(rows.first, rows.number) if rows.number else (0, 1)] + [(0, n) for n in shape[1:]]
    return "{} {}".format(" ".join(map(str, shape)),
                          ":".join("{},{}".format(*part) for part in parts))
