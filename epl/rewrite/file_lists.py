# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lists of files in a graph: the constants whose texts are the names of files that are read.

    Const ["a", "b"] -> Reshape -> TensorSliceDataset -> FlatMapDataset(f)     f: TFRecordDataset
    Const ["a", "b"] -> RandomShuffle -> QueueEnqueueMany -> queue -> ReaderRead

A one-shot iterator has its datasets in a function, where they are looked for as well.
"""

import collections
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Set

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor

_READS = re.compile(r"(TFRecord|TextLine|FixedLengthRecord)Dataset(V\d)?|ReadFile|"
                    r"ReaderRead(UpTo)?(V2)?")
_ENQUEUES = ("QueueEnqueue", "QueueEnqueueV2", "QueueEnqueueMany", "QueueEnqueueManyV2")
_FACTORY = "dataset_factory"  # of a one-shot iterator, the function that makes its dataset


class FileList(NamedTuple):
    """A list of files.

    Attributes:
      node: its constant, a `NodeDef`.
      iterator: name of the one-shot iterator whose function holds it, or "".
      names: the names of the files.
    """

    node: Any
    iterator: str
    names: List[bytes]


def find(graph: Any) -> List[FileList]:
    """The lists of files in `graph`, in the order of its operations."""
    definition = graph.as_graph_def()
    functions = {f.signature.name: f for f in definition.library.function}
    found = [FileList(node, "", names) for node, names in _lists(definition.node, functions)]
    for node in definition.node:
        factory = node.attr[_FACTORY].func.name if _FACTORY in node.attr else ""
        if factory in functions:
            found += [FileList(inner, node.name, names) for inner, names in _lists(
                functions[factory].node_def, functions)]
    return found


def keep(graph: Any, found: FileList, numbers: Iterable[int]) -> None:
    """Let `graph` read only the files with these numbers of a list."""
    value = tf.make_tensor_proto(np.array([found.names[number] for number in numbers], object),
                                 tf.string)
    if not found.iterator:
        editor.set_value(graph.get_operation_by_name(found.node.name), value)
        return
    iterator = graph.get_operation_by_name(found.iterator)
    old = compat.function_names(iterator.node_def)[0]
    definition = tf.GraphDef()
    functions = {f.signature.name: f for f in graph.as_graph_def().library.function}
    changed = definition.library.function.add()
    changed.CopyFrom(functions[old])
    changed.signature.name = "{}_{}".format(old, graph.version)
    node = next(each for each in changed.node_def if each.name == found.node.name)
    node.attr["value"].tensor.CopyFrom(value)
    node.attr.pop("_output_shapes", None)
    for name in _called([changed], functions):
        definition.library.function.add().CopyFrom(functions[name])
    tf.import_graph_def(definition, name="")
    editor.set_function(iterator, _FACTORY, changed.signature.name)


def _lists(nodes: Iterable[Any], functions: Dict[str, Any]) -> List[Any]:
    """(node, names) of the constants among `nodes` from which file names are read."""
    by_name = {node.name: node for node in nodes}
    readers: Dict[str, List[str]] = collections.defaultdict(list)
    for node in by_name.values():
        for text in node.input:
            if not text.startswith("^"):
                readers[text.split(":")[0]].append(node.name)
        if node.op in _ENQUEUES:  # what is put in comes out behind the queue
            readers[node.name].append(node.input[0].split(":")[0])
    found = []
    for node in by_name.values():
        if node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum:
            names = tf.make_ndarray(node.attr["value"].tensor)
            if names.ndim == 1 and names.size and _is_read(node.name, by_name, readers, functions):
                found.append((node, [tf.compat.as_bytes(name) for name in names]))
    return found


def _is_read(start: str, nodes: Dict[str, Any], readers: Dict[str, List[str]],
             functions: Dict[str, Any]) -> bool:
    """Whether what `start` holds comes to an operation that reads files."""
    pending, seen = [start], {start}
    while pending:
        for name in readers[pending.pop()]:
            node = nodes[name]
            bodies = [functions[each].node_def for each in _called([node], functions)]
            if any(_READS.fullmatch(each.op) for body in [[node]] + bodies for each in body):
                return True
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return False


def _called(callers: Iterable[Any], functions: Dict[str, Any]) -> List[str]:
    """The functions that nodes or functions call, directly or not."""
    pending = [name for each in callers for node in getattr(each, "node_def", [each])
               for name in compat.function_names(node)]
    seen: Set[str] = set()
    while pending:
        name = pending.pop()
        if name in functions and name not in seen:
            seen.add(name)
            pending.extend(inner for node in functions[name].node_def
                           for inner in compat.function_names(node))
    return sorted(seen)
