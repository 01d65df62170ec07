# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A `tf.cond` that TensorFlow itself may compute or differentiate wrongly.

Of `x + x` in the first branch TensorFlow's graph optimizer makes 2 * x, and lets the 2 wait for the
branch that is not taken: nothing comes out. A run fails, on one device, too; a loop over several
devices would wait for it for ever.

From version 2.15 on TensorFlow's constant folding concludes from gradients in a branch that is not
taken how many rows the other one has. Where a branch computes another number of rows than the
batch's, it may take that for the batch size and scale gradients by it: on one device, and here by
another number, since each clone has fewer rows. Nothing can be done about that but to say so.
"""

from typing import Any, Iterable, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite import loops, op_traits
from epl.rewrite.walk import ancestors, data_ancestors

_ALIKE = frozenset(["Identity", "PreventGradient", "StopGradient"])
_MERGES = frozenset(["Merge", "RefMerge"])
_SUMS = frozenset(["Add", "AddN", "AddV2"])


def warn_of_other_rows(ys: Iterable[Any]) -> None:
    """Log a warning for every `tf.cond` behind `ys` that this can happen to.

    Args:
      ys: tensors that are differentiated.
    """
    if not compat.misjudges_branches():
        return
    for op in sorted(ancestors(y.op for y in ys), key=compat.op_id):
        if op.type in _MERGES and _in_doubt(op):
            tf.logging.warning(
                "the branches of the tf.cond at '%s' have the static shapes %s, and from version "
                "2.15 on TensorFlow's graph optimizer may take one for the other: the gradients "
                "may be wrong, with EPL and without. Give both branches as many rows (say by "
                "tf.tile), or make the session with config.graph_options.rewrite_options."
                "constant_folding = RewriterConfig.OFF", op.name,
                " and ".join(str(tensor.shape) for tensor in op.inputs))


def tell_of_sums(ys: Iterable[Any], several_devices: bool) -> None:
    """Log a warning for every sum of equal terms that a branch behind `ys` begins with.

    Args:
      ys: tensors that are differentiated.
      several_devices: the graph is on more than one device of this worker.

    Raises:
      NotImplementedError: a step would wait for ever.
    """
    behind = ancestors(y.op for y in ys)
    hangs = several_devices and any(map(loops.is_enter, behind))
    for op in sorted(behind, key=compat.op_id):
        taken = [_taken(tensor) for tensor in op.inputs] if op.type in _SUMS else []
        if len(taken) < 2 or taken[0] is None or len(set(taken)) > 1:
            continue
        text = (
            "'{}'{} adds what goes into a branch of tf.cond to itself. TensorFlow's graph "
            "optimizer makes a product of that which has no value when the branch is taken, with "
            "EPL and without: a run fails with \"Retval[0] does not have value\"{}. Write 2 * x "
            "for x + x".format(op.name, compat.made_at(op), ", or waits for ever where a "
                               "tf.while_loop on several devices follows" if hangs else ""))
        if hangs:
            raise NotImplementedError(text)
        tf.logging.warning(text)


def _taken(tensor: Any) -> Optional[str]:
    """What a v1 branch takes if its condition is true, by name; None of all else."""
    while tensor.op.type in _ALIKE:
        tensor = tensor.op.inputs[0]
    of_branch = op_traits.is_switch(tensor.op) and tensor.value_index == 1 \
        and not loops.ends_turn(tensor.op)
    return tensor.name if of_branch else None


def _in_doubt(merge: Any) -> bool:
    """True if one branch has a known number of rows, the other not this one for certain."""
    shapes = [tensor.shape for tensor in merge.inputs]
    if any(s.ndims in (None, 0) for s in shapes) or any(
            t.op.type in ("Enter", "NextIteration") for t in merge.inputs):
        return False
    rows = [compat.static_shape(tensor)[0] for tensor in merge.inputs]
    return len(set(rows)) > 1 and any(
        number is not None and _is_learned(tensor) for number, tensor in zip(rows, merge.inputs))


def _is_learned(tensor: Any) -> bool:
    """True if a variable can get a gradient through `tensor`."""
    return any(op_traits.is_variable(op) for op in data_ancestors([tensor.op]))
