# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Is the order of a dataset the same on all workers? It has to be where they share its rows."""

from typing import Any, Dict, Iterator, List, NamedTuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError

# Datasets that draw, and where the first of their two seeds is among their inputs.
_SEEDS = {"RandomDataset": 0, "SamplingDataset": 2, "ShuffleAndRepeatDataset": 2,
          "ShuffleAndRepeatDatasetV2": 2, "ShuffleDataset": 2, "ShuffleDatasetV3": 2}
# Datasets that are told by an input whether their order may depend on time.
_SLOPPY = {"ExperimentalParallelInterleaveDataset": -3, "ParallelInterleaveDataset": -3}


class _Node(NamedTuple):
    """An operation of a graph or of a function.

    Attributes:
      definition: its `NodeDef`.
      constants: the values of its inputs, None for those that are no constants.
    """

    definition: Any
    constants: List[Any]


def check_order(dataset: Any) -> None:
    """Raises ConfigError if the order of `dataset` is drawn or may depend on time.

    What Python code does (`from_generator`) is not known here.
    """
    cure = ("so every worker would get rows in an order of its own, and their shards would share "
            "some and miss others: {}, or call epl.shard before it")
    options = dataset.options()
    if False in (getattr(options, "deterministic", None),
                 getattr(options, "experimental_deterministic", None)):
        raise ConfigError("the order of the dataset may depend on time (its options say "
                          "deterministic = False), " + cure.format("set it to True"))
    for node in _nodes(dataset):
        kind = node.definition.op
        first = _SEEDS.get(kind)
        if first is not None and node.constants[first:first + 2] == [0, 0]:
            raise ConfigError("the order of the dataset is drawn without a seed ('{}', {}), "
                              .format(node.definition.name, kind) + cure.format(
                                  "give shuffle(..., seed=1), list_files(..., shuffle=False)"))
        if _is_sloppy(node):
            raise ConfigError("the order of the dataset may depend on time ('{}', {}), ".format(
                node.definition.name, kind) + cure.format("give deterministic=True, sloppy=False"))


def _is_sloppy(node: _Node) -> bool:
    attributes = node.definition.attr
    place = _SLOPPY.get(node.definition.op)
    return (attributes["deterministic"].s == b"false" or attributes["sloppy"].b
            or place is not None and bool(node.constants[place]))


def _nodes(dataset: Any) -> Iterator[_Node]:
    """What `dataset` is made of, with the functions that it calls."""
    ops = compat.dataset_ops(dataset)
    pending: List[str] = []
    for op in ops:
        definition = op.node_def
        pending.extend(compat.function_names(definition))
        if definition.op in _SEEDS or definition.op in _SLOPPY:
            constants = [_plain(tf.get_static_value(tensor)) for tensor in op.inputs]
        else:
            constants = []
        yield _Node(definition, constants)
    if not pending:
        return
    library = {f.signature.name: f for f in ops[0].graph.as_graph_def().library.function}
    seen = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        nodes = {node.name: node for node in library[name].node_def}
        for node in nodes.values():
            pending.extend(compat.function_names(node))
            yield _Node(node, [_constant(nodes, text) for text in node.input
                               if not text.startswith("^")])


def _constant(nodes: Dict[str, Any], text: str) -> Any:
    """The value of an input of a function's node, which reads as "name:output:0"."""
    node = nodes.get(text.split(":")[0])
    if node is None or node.op != "Const":
        return None
    return _plain(tf.make_ndarray(node.attr["value"].tensor))


def _plain(value: Any) -> Any:
    """A number as Python has it; None for all else."""
    return value.item() if getattr(value, "size", 0) == 1 and value.dtype.kind in "biuf" else None
