# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A copy of a graph in which the sizes of the batch are known.

    graph    IteratorGetNext [?, 10] -> MatMul [?, 16] -> ...
    copy     placeholder    [32, 10] -> MatMul [32, 16] -> ...

What brings data into the graph gets the shape that it has in a run, or that a dataset's batch size
says; TensorFlow infers those of all else. The graph itself stays as it is: shapes that were set
there would count for all that is built later.
"""

import re
from typing import Any, Dict, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError

# Operations from which data comes, whose shapes nothing else in the graph says.
_SOURCES = ("IteratorGetNext", "Placeholder", "PlaceholderWithDefault", "QueueDequeue",
            "PyFunc", "EagerPyFunc")
_FED = re.compile(r"^_arg_(.+)_\d+_\d+$")  # how TensorFlow calls a placeholder that is fed
# Datasets that give as many rows at a time as their first input.
_AS_MANY = re.compile("^(Cache|Model|Optimize|Options|Prefetch|Repeat|Shuffle|ShuffleAndRepeat|"
                      "Shard|Skip|Take|MaxIntraOpParallelism|PrivateThreadPool)Dataset(V\\d)?$")
_BATCH = re.compile("^(Parallel|Padded|MapAnd)?BatchDataset(V\\d)?$")


def copy_with_shapes(graph: Any, shapes: Dict[str, List[int]]) -> Any:
    """A copy of `graph` with the same names; `shapes`: name of a source's output -> its shape."""
    copied = tf.Graph()
    with copied.as_default():
        known = {name: tf.placeholder(graph.get_tensor_by_name(name).dtype, shape,
                                      "epl_known_shape")
                 for name, shape in sorted(shapes.items())}
        tf.import_graph_def(graph.as_graph_def(), known, name="")
    return copied


def shapes_of(ops: Sequence[Any], open_size: Optional[int]) -> Any:
    """A copy of some operations of a graph in which the sizes of batches are known.

    Args:
      ops: the operations, and all that they depend on, or what stands for it.
      open_size: what stands for a size of data that nothing says; None: it stays open.

    Returns:
      A graph in which each of `ops` has a copy of the same name.
    """
    graph, members = ops[0].graph, set(ops)
    said = dataset_shapes(graph)
    definition, copied = tf.GraphDef(), tf.Graph()
    definition.versions.CopyFrom(graph.graph_def_versions)
    if any(compat.function_names(op.node_def) or op.op_def is None for op in ops):
        definition.library.CopyFrom(graph.as_graph_def().library)
    known = {}
    with copied.as_default():
        for op in ops:
            node = definition.node.add()
            node.CopyFrom(op.node_def)
            node.attr.pop("_class", None)
            if op.type == "PlaceholderWithDefault" and not _brings_data(op):
                node.op = "Identity"
                node.attr["T"].CopyFrom(node.attr["dtype"])
                del node.attr["dtype"], node.attr["shape"]
            del node.input[:]
            for tensor in op.inputs:
                key = tensor.name if tensor.value_index else tensor.op.name
                is_source = _brings_data(tensor.op)
                if tensor.op not in members or is_source:
                    key = "outside/" + tensor.name.replace(":", "_output_")
                    if key not in known:
                        known[key] = tf.placeholder(tensor.dtype.base_dtype, _shape(
                            tensor, said, open_size if is_source else None), "epl_known_shape")
                node.input.append(key)
            node.input.extend("^" + c.name for c in op.control_inputs if c in members)
        tf.import_graph_def(definition, known, name="")
    return copied


class Sizes:
    """Bytes of tensors of a graph, where the sizes of batches are known."""

    def __init__(self, ops: Sequence[Any], rows: Optional[int]):
        """Find out shapes.

        Args:
          ops: the operations whose tensors are asked for.
          rows: what stands for a size of data that nothing says; None: it must be known.

        Raises:
          ConfigError: such a size, and no `rows`; a number of rows that the graph cannot have.
        """
        try:
            self._copy = shapes_of(ops, rows)
        except ValueError as error:
            raise ConfigError("sizes do not fit{}: {}".format(
                "" if rows is None else " with rows = {}".format(rows), error)) from None
        self._bytes: Dict[str, int] = {}
        said = dataset_shapes(ops[0].graph)
        for op in ops:
            for tensor in op.outputs if _brings_data(op) else ():
                number = tf.TensorShape(_shape(tensor, said, rows)).num_elements()
                if number is None:
                    raise ConfigError(
                        "the shape of '{}' is {}: say how many rows a micro-batch has, "
                        "epl.explain(rows=...), or give it a whole shape".format(
                            tensor.name, tensor.shape))
                self._bytes[tensor.name] = number * int(tensor.dtype.base_dtype.size or 0)

    def of(self, tensor: Any) -> int:
        """Bytes of a tensor; 0 if they depend on values."""
        if tensor.name not in self._bytes:
            number = self._shape(tensor).num_elements() or 0
            self._bytes[tensor.name] = number * int(tensor.dtype.base_dtype.size or 0)
        return self._bytes[tensor.name]

    def shape(self, tensor: Any) -> List[Optional[int]]:
        """The sizes of a tensor; [None] if nothing is known."""
        shape = self._shape(tensor)
        return [None] if shape.ndims is None else list(shape.as_list())

    def _shape(self, tensor: Any) -> Any:
        return self._copy.get_operation_by_name(tensor.op.name).outputs[tensor.value_index].shape


def _shape(tensor: Any, said: Dict[str, List[int]], open_size: Optional[int]) -> Any:
    if tensor.name in said or tensor.shape.ndims is None:
        return said.get(tensor.name)
    return [open_size if size is None else size for size in tensor.shape.as_list()]


def _brings_data(op: Any) -> bool:
    """True for where data comes from; what has a default that is computed is as long as that."""
    if op.type == "PlaceholderWithDefault" and op.inputs[0].op.type != "Const":
        return False
    return bool(op.type.startswith(_SOURCES))


def executed_shapes(graph: Any, step_stats: Any) -> Dict[str, List[int]]:
    """Name of a source's output -> its shape in a traced run."""
    found: Dict[str, List[int]] = {}
    sources = {op.name: op for op in _sources(graph)}
    for stats in step_stats.dev_stats:
        for node in stats.node_stats:
            fed = _FED.match(node.node_name)
            op = sources.get(fed.group(1) if fed else node.node_name)
            if op is None:
                continue
            for output in node.output:
                if output.slot < len(op.outputs):
                    shape = [dim.size for dim in output.tensor_description.shape.dim]
                    _note(found, op.outputs[output.slot], shape)
    return found


def dataset_shapes(graph: Any) -> Dict[str, List[int]]:
    """Name of an iterator's output -> its shape if it comes in batches of a constant size."""
    found: Dict[str, List[int]] = {}
    for op in _sources(graph):
        rows = _batch_size(op) if op.type.startswith("IteratorGetNext") else None
        for tensor in op.outputs if rows is not None else ():
            if tensor.shape.ndims:
                _note(found, tensor, [rows] + tensor.shape.as_list()[1:])
    return found


def _note(found: Dict[str, List[int]], tensor: Any, shape: Sequence[Optional[int]]) -> None:
    """Note a shape that says more than the graph does, and nothing else."""
    if not tensor.shape.is_fully_defined() and None not in shape \
            and tensor.shape.is_compatible_with(shape):
        found[tensor.name] = [int(size) for size in shape if size is not None]


def _sources(graph: Any) -> List[Any]:
    return [op for op in graph.get_operations() if op.type.startswith(_SOURCES)]


def _batch_size(get_next: Any) -> Optional[int]:
    """Rows that the dataset of an iterator gives at a time, or None."""
    makers = [op for op in get_next.inputs[0].consumers() if op.type == "MakeIterator"]
    dataset = makers[0].inputs[0].op if len(makers) == 1 else None
    while dataset is not None and _AS_MANY.match(dataset.type):
        dataset = dataset.inputs[0].op
    match = _BATCH.match(dataset.type) if dataset is not None else None
    if match is None or match.group(1) == "MapAnd":
        return None
    size = tf.get_static_value(dataset.inputs[1])
    return None if size is None else int(size)
