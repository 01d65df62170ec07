# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `seeds`: random operations draw differently on every worker.

With a graph or operation seed all workers would draw the same dropout masks. Worker 0 keeps the
script's seeds, so that one worker gives the results of plain TensorFlow.
"""

import hashlib
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from epl import compat
from epl.rewrite.walk import ancestors

_SEED_ATTRIBUTES = ("seed", "seed2")


def vary_seeds(outputs: Iterable[Any], worker_index: int, varied: Set[Any]) -> List[str]:
    """Give the seeded random operations behind `outputs` other seeds on workers other than 0.

    Args:
      outputs: tensors whose ancestors are treated.
      worker_index: rank of this worker.
      varied: operations that are changed already; extended by this call.

    Returns:
      Names of the operations that were changed.

    Raises:
      NotImplementedError: a seeded random operation inside a function or v2 control flow, where
        its seed cannot be changed.
    """
    if worker_index == 0:
        return []
    changed = []
    functions = _Functions()
    for op in sorted(ancestors(tensor.op for tensor in outputs), key=lambda op: op._id):
        seeds = _seeds(op.node_def, op.op_def)
        functions.check(op)
        if seeds is None or not any(seeds) or op in varied:
            continue
        compat.set_int_attribute(op, "seed2", _mixed(seeds, worker_index))
        varied.add(op)
        changed.append(op.name)
    return changed


def _seeds(node_def: Any, op_def: Any) -> Optional[Tuple[int, int]]:
    """(seed, seed2) of a random operation, None for any other."""
    if op_def is not None:
        names = {attr.name for attr in op_def.attr}
        if not names.issuperset(_SEED_ATTRIBUTES):
            return None
    elif not all(name in node_def.attr for name in _SEED_ATTRIBUTES):
        return None
    return node_def.attr["seed"].i, node_def.attr["seed2"].i


def _mixed(seeds: Tuple[int, int], worker_index: int) -> int:
    """A seed that depends on all arguments: 31 bits, never 0 (0 means unseeded)."""
    text = "{}/{}/{}".format(seeds[0], seeds[1], worker_index)
    return int(hashlib.sha256(text.encode()).hexdigest()[:7], 16) + 1


class _Functions:
    """The functions of a graph, read only if an operation calls one."""

    def __init__(self) -> None:
        self._library: Optional[Dict[str, Any]] = None

    def check(self, op: Any) -> None:
        """Raises NotImplementedError if `op` calls, directly or not, a seeded random operation."""
        called = [attr.func.name for attr in op.node_def.attr.values() if attr.HasField("func")]
        if not called or op.type.endswith("Dataset") or "Iterator" in op.type:
            return  # an input pipeline's functions stay as they are
        if self._library is None:
            self._library = {f.signature.name: f
                             for f in op.graph.as_graph_def().library.function}
        seen: Set[str] = set()
        while called:
            name = called.pop()
            if name in seen or name not in self._library:
                continue
            seen.add(name)
            for node in self._library[name].node_def:
                seeds = _seeds(node, None)
                if seeds is not None and any(seeds):
                    raise NotImplementedError(
                        "operation '{}' runs the random operation '{}' ({}) with a fixed seed "
                        "inside a function: its seed cannot be made different on every worker; "
                        "build it with v1 control flow (tf.disable_control_flow_v2()) or without "
                        "a seed".format(op.name, node.name, node.op))
                called.extend(a.func.name for a in node.attr.values() if a.HasField("func"))
