# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Starting from a pre-trained checkpoint."""

from typing import Any, Dict, List

import tensorflow.compat.v1 as tf

from examples.bert.errors import UserError


def checkpoint_shapes(path: str) -> Dict[str, List[int]]:
    """The name and shape of every variable in a checkpoint.

    Raises:
      UserError: no checkpoint can be read there.
    """
    try:
        return dict(tf.train.list_variables(path))
    except (tf.errors.OpError, ValueError) as error:
        raise UserError("cannot read the checkpoint '{}' (give its path without .index or .data, "
                        "e.g. DIR/bert_model.ckpt): {}".format(
                            path, str(error).splitlines()[0])) from None


def initialize_from(path: str, variables: List[Any]) -> str:
    """Make `variables` start with their values in a checkpoint instead of random ones.

    Args:
      path: the checkpoint, a prefix such as `DIR/bert_model.ckpt`.
      variables: the model's variables; those that the checkpoint lacks keep their initial values.

    Returns:
      A report for people.

    Raises:
      UserError: the checkpoint holds none of the variables, or some with another shape.
    """
    stored = checkpoint_shapes(path)
    wanted = {variable.op.name: variable.shape.as_list() for variable in variables}
    found = sorted(set(wanted) & set(stored))
    different = ["{}: {} in the checkpoint, {} in the model".format(n, stored[n], wanted[n])
                 for n in found if list(stored[n]) != wanted[n]]
    if different:
        raise UserError("the checkpoint '{}' does not fit the model's configuration:\n  {}".format(
            path, "\n  ".join(different)))
    if not found:
        raise UserError("the checkpoint '{}' holds none of the model's variables; it has {}".format(
            path, ", ".join(sorted(stored)[:5]) or "no variables"))
    tf.train.init_from_checkpoint(path, {name: name for name in found})
    lines = ["{} of {} variables start from {}".format(len(found), len(wanted), path)]
    lines.extend("  random: {}".format(name) for name in sorted(set(wanted) - set(found)))
    unused = sorted(set(stored) - set(wanted))
    if unused:
        lines.append("  not used: {} ({})".format(len(unused), ", ".join(unused[:3]) + ", ..."
                                                  if len(unused) > 3 else ", ".join(unused)))
    return "\n".join(lines)
