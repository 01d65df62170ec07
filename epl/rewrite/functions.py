# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the functions do that an operation calls: v2 control flow, `tf.function`, `Defun`."""

from typing import Any, Dict, Iterator, Optional, Set

from epl import compat

_WRITES = ("Assign", "ResourceApply", "ResourceScatter", "ResourceSparseApply",
           "ResourceStridedSliceAssign")


class Library:
    """The functions of a graph, read only if an operation calls one."""

    def __init__(self, graph: Any):
        self._graph = graph
        self._functions: Optional[Dict[str, Any]] = None

    def nodes(self, op: Any) -> Iterator[Any]:
        """The `NodeDef`s of all functions that `op` calls, directly or not.

        The functions of an input pipeline (of datasets and iterators) do not count: they run
        outside of the step.
        """
        pending = compat.function_names(op.node_def)
        if not pending or "Dataset" in op.type or "Iterator" in op.type:
            return
        if self._functions is None:
            self._functions = {f.signature.name: f
                               for f in self._graph.as_graph_def().library.function}
        seen: Set[str] = set()
        while pending:
            name = pending.pop()
            if name in seen or name not in self._functions:
                continue
            seen.add(name)
            for node in self._functions[name].node_def:
                yield node
                pending.extend(compat.function_names(node))

    def writing_node(self, op: Any) -> Optional[Any]:
        """A node that writes a variable inside of a function that `op` calls; None if none does."""
        return next((n for n in self.nodes(op) if n.op.startswith(_WRITES)), None)
