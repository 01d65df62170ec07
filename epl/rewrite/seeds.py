# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `seeds`: random operations draw differently in every clone on every worker.

With a graph or operation seed all of them would draw the same dropout masks. The first clone of
worker 0 keeps the script's seeds, so that one clone gives the results of plain TensorFlow. Clones
are counted over all workers; clone n mixes n into its seeds.
"""

import hashlib
from typing import Any, Iterable, Set, Tuple

from epl import compat
from epl.ir import editor
from epl.rewrite import op_traits
from epl.rewrite.functions import Library
from epl.rewrite.walk import ancestors


class Varied:
    """The random operations of one graph whose seed was made this worker's own."""

    def __init__(self) -> None:
        self.ops: Set[Any] = set()


def vary_seeds(outputs: Iterable[Any], number: int, varied: Set[Any]) -> None:
    """Give the script's own seeded random operations behind `outputs` the seeds of clone `number`.

    Args:
      outputs: tensors whose ancestors are treated.
      number: this worker's first clone, counted over all workers.
      varied: operations that are changed already; extended by this call.
    """
    if number == 0:
        return
    for op in sorted(ancestors(tensor.op for tensor in outputs), key=compat.op_id):
        drawn = op_traits.seeds(op.node_def, op.op_def) if op_traits.is_random(op) else None
        if drawn is None or not any(drawn) or op in varied:
            continue
        editor.set_int_attribute(op, "seed2", mixed_seed(drawn, number))
        varied.add(op)


def check_seeds(outputs: Iterable[Any]) -> None:
    """Refuse seeds that cannot be made different, behind `outputs`.

    Raises:
      NotImplementedError: a seeded random operation inside a function or v2 control flow.
    """
    ops = sorted(ancestors(tensor.op for tensor in outputs), key=compat.op_id)
    library = Library(ops[0].graph) if ops else None
    for op in ops:
        assert library is not None
        for node in library.nodes(op):
            drawn = op_traits.seeds(node, None)
            if drawn is not None and any(drawn):
                raise NotImplementedError(
                    "operation '{}' runs the random operation '{}' ({}) with a fixed seed inside a "
                    "function: its seed cannot be made different on every worker and in every "
                    "micro-batch; build it with v1 control flow (tf.disable_control_flow_v2()) or "
                    "without a seed".format(op.name, node.name, node.op))


def mixed_seed(seeds: Tuple[int, int], number: int) -> int:
    """A seed that depends on all arguments: 31 bits, never 0 (0 means unseeded)."""
    text = "{}/{}/{}".format(seeds[0], seeds[1], number)
    return int(hashlib.sha256(text.encode()).hexdigest()[:7], 16) + 1
