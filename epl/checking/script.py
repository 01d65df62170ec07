# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The graph as the script built it, kept before the rewrite changes it.

Nodes are copied when the rewrite is about to begin. What the rewrite adds is never copied; what the
script adds afterwards is, before the next rewrite.
"""

from typing import Any, Callable, Dict, Iterable, List, Tuple

import tensorflow.compat.v1 as tf

from epl import compat

_ATTRIBUTE = "_epl_script"


class Script:
    """The nodes of a script's graph.

    Attributes:
      nodes: name -> `NodeDef`.
    """

    def __init__(self) -> None:
        self.nodes: Dict[str, Any] = {}
        self._last_id = 0

    def copy_new(self, graph: Any) -> None:
        """Copy what was added since `skip`."""
        for op in graph.get_operations():
            if compat.op_id(op) > self._last_id:
                self.nodes[op.name] = op.node_def
        self._last_id = compat.last_id(graph)

    def skip(self, graph: Any) -> None:
        """What was added since `copy_new` is no part of the script."""
        self._last_id = compat.last_id(graph)

    def holds(self, tensor_name: str) -> bool:
        """True if the script made this tensor."""
        return split(tensor_name)[0] in self.nodes

    def behind(self, names: Iterable[str], ends: Callable[[str], bool],
               cut: Iterable[str] = ()) -> List[str]:
        """Names of the nodes `names` and of all that they depend on, in the script's order.

        Args:
          names: of nodes.
          ends: told a node's name, says whether the walk ends there.
          cut: names of tensors behind which the walk does not look.
        """
        known = set(cut)
        seen = set()
        stack = [name for name in names if name in self.nodes]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            if not ends(name):
                stack.extend(source for source, number in inputs(self.nodes[name])
                             if number < 0 or tensor(source, number) not in known)
        return [name for name in self.nodes if name in seen]

    def definition(self, graph: Any, names: Iterable[str]) -> Any:
        """A `GraphDef` of the nodes `names`, to be placed on one device.

        Args:
          graph: where the nodes are from; brings its functions.
          names: of nodes.
        """
        result = tf.GraphDef()
        result.versions.CopyFrom(graph.graph_def_versions)
        for name in names:
            node = result.node.add()
            node.CopyFrom(self.nodes[name])
            node.device = ""
            for attribute in ("_class", "_output_shapes"):
                node.attr.pop(attribute, None)
        if any(compat.function_names(node) for node in result.node):
            result.library.CopyFrom(graph.as_graph_def().library)
        return result


def script_of(graph: Any) -> Script:
    """The script's part of `graph`, as far as it was copied."""
    script = getattr(graph, _ATTRIBUTE, None)
    if script is None:
        script = Script()
        setattr(graph, _ATTRIBUTE, script)
    return script


def split(tensor_name: str) -> Tuple[str, int]:
    """Name of the node and number of the output of "name:0"."""
    name, _, number = tensor_name.rpartition(":")
    return name, int(number)


def tensor(node: str, number: int) -> str:
    """The name of a tensor."""
    return "{}:{}".format(node, number)


def inputs(node: Any) -> List[Tuple[str, int]]:
    """(name of a node, number of its output) that `node` reads; number -1: it only waits for it."""
    found = []
    for text in node.input:
        if text.startswith("^"):
            found.append((text[1:], -1))
        else:
            name, _, number = text.partition(":")
            found.append((name, int(number or 0)))
    return found
