# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""gradient_checkpoint.check_gradients: every step compares the gradients with those without copies.

The backward pass is built once more, reading what the forward pass itself computed:

    originals --> backward pass, once more --> g' --+
    copies    --> backward pass ------------> g  ---+--> compared --> what the script gets

It takes the memory of training without, and more time: a look at a model, not a way to train it.
The backward pass of a v1 loop is not built twice, as it works in the forward pass's own loop.
"""

import contextlib
from typing import Any, Dict, Iterator

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.provenance import Provenance
from epl.rewrite import op_traits
from epl.rewrite.clones import CloneId, CloneMap
from epl.rewrite.groups import Gradient, GradientGroup, parts
from epl.rewrite.recompute.forward import Forward

# Both sides do the same with the same numbers. What differs is what TensorFlow's graph optimizer
# makes of either, and the order in which a kernel's threads add.
_RELATIVE = 1e-4

_FIRST, _PLAIN = CloneId(0, 0, 0), CloneId(0, 0, 1)


class PlainBackward:
    """The backward pass of a group as it was before it read copies."""

    def __init__(self, graph: Any, provenance: Provenance, group: GradientGroup, forward: Forward,
                 stages: Dict[Any, int]):
        """Build it; nothing may read copies yet.

        Args:
          graph: the script's graph.
          provenance: where each operation comes from.
          group: the group.
          forward: its forward pass.
          stages: stage of each operation, also of the backward pass.
        """
        self._graph, self._provenance, self._group = graph, provenance, group
        self._stages = stages
        self._scope = group.name + "/without_checkpoints"
        self._copies = CloneMap(graph, self._scope, [_FIRST, _PLAIN], 0)
        raw = [part for gradient in group.gradients for part in parts(gradient.raw)]
        outer = {part.op for part in raw if op_traits.without_any_rows(part) is not part}
        ops = [op for op in forward.backward if op not in outer and not forward.is_in_loop(op)]
        for stage in sorted({stages.get(op, 0) for op in ops}, reverse=True):
            with self._of_stage(stage):
                self._copies.add([op for op in ops if stages.get(op, 0) == stage], [_PLAIN],
                                 lambda op, clone: op.device)

    @contextlib.contextmanager
    def _of_stage(self, stage: int) -> Iterator[None]:
        """What is built meanwhile is of a stage of the model."""
        first = compat.last_id(self._graph) + 1
        yield
        self._provenance.adopt(first, compat.last_id(self._graph), stage)

    def compare(self) -> None:
        """Let the script's gradients wait for a comparison of all that they consist of."""
        self._group.gradients[:] = [self._checked(each) for each in self._group.gradients]

    def _checked(self, gradient: Gradient) -> Gradient:
        values, returned = parts(gradient.raw)[0], parts(gradient.returned)[0]
        inner = op_traits.without_any_rows(values)
        name = gradient.variable.op.name
        with self._of_stage(self._stages.get(inner.op, 0)), \
                compat.inserted(self._graph, "{}/{}".format(self._scope, name)), \
                tf.device(inner.op.device or None):
            checked = _equal(inner, self._copies.tensor(inner, _PLAIN), name)
        if inner is not values:
            editor.replace_input(values.op, inner, checked)
            return gradient
        editor.replace_input(returned.op, values, checked)
        raw = checked if gradient.raw is values else tf.IndexedSlices(
            checked, gradient.raw.indices, gradient.raw.dense_shape)
        return gradient._replace(raw=raw)


def _equal(found: Any, plain: Any, name: str) -> Any:
    """`found`, once it is known to be `plain` but for rounding."""
    if not found.dtype.is_floating:
        same, apart = tf.reduce_all(tf.equal(found, plain)), tf.constant(0.0)
    else:
        difference = tf.abs(found - plain)
        largest = tf.reduce_max(tf.abs(plain))
        # Where both are no numbers, or both are infinite, neither is less than the other.
        close = tf.logical_not(difference > _RELATIVE * largest)
        same = tf.reduce_all(close) & tf.reduce_all(tf.equal(
            tf.is_finite(found), tf.is_finite(plain)))
        apart = tf.reduce_max(difference)
    message = ("gradient_checkpoint.check_gradients: the gradient of '{}' is another one than "
               "without checkpoints; the largest difference is".format(name))
    with tf.control_dependencies([tf.debugging.Assert(same, [message, apart])]):
        return tf.identity(found)
