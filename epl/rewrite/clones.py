# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `clones`: copy what depends on a batch, once per further micro-batch, replica and slice.

    the script's operations            = clone (replica 0, micro-batch 0, slice 0)
    <scope>/replica_0/micro_batch_1/*  = clone (0, 1, 0)
    ...

A clone is one import of one `GraphDef`: forward and backward together, with what is shared mapped
to the script's own tensors, and data to the clone's own source.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.rewrite import loops, op_traits
from epl.rewrite.seeds import mixed_seed


class CloneId(NamedTuple):
    """Which part of a worker's share of the global batch a clone works on (all 0-based).

    Attributes:
      replica: model replica, counted over all workers.
      micro_batch: micro-batch of the replica.
      slice: part of the micro-batch, where stages have several devices.
    """

    replica: int
    micro_batch: int
    slice: int

    def describe(self, num_slices: int) -> str:
        text = "replica_{}/micro_batch_{}".format(self.replica, self.micro_batch)
        return "{}/slice_{}".format(text, self.slice) if num_slices > 1 else text


class CloneMap:
    """CloneMap of operations of the script's graph, one set per clone.

    The first clone is the script's own operations.
    """

    def __init__(self, graph: Any, scope: str, clones: List[CloneId], first_seed: int,
                 behind: Callable[[Any, CloneId], Any] = lambda tensor, clone: tensor,
                 counted: Callable[[Any], Any] = lambda op: None,
                 adapt: Callable[[Any], None] = lambda node: None):
        """Prepare a place for copies.

        Args:
          graph: the script's graph.
          scope: absolute name scope of the copies.
          clones: the clones of this worker, in order; the first needs no copies.
          first_seed: number of the first clone among those of all workers.
          behind: `(tensor, clone)` -> what stands in a clone for a tensor that is not copied here.
          counted: constant -> what its copies compute instead (see `ir.static_shapes`), or None.
          adapt: changes the attributes of what is copied, a `NodeDef`.
        """
        num_slices = 1 + max(clone.slice for clone in clones)
        self._graph = graph
        self._scope = scope
        self._names = {clone: clone.describe(num_slices) for clone in clones}
        self._numbers = {clone: first_seed + n for n, clone in enumerate(clones)}
        self._copies: Dict[CloneId, Dict[Any, Any]] = {clone: {} for clone in clones}
        self._behind, self._counted, self._adapt = behind, counted, adapt
        self._instead: Dict[str, Any] = {}
        self._taken: Set[str] = set()  # names of operations and scopes
        self.clones = clones

    def has(self, op: Any) -> bool:
        """True if `op` is copied, for one clone at least."""
        return any(op in copies for copies in self._copies.values())

    def copies_of(self, clone: CloneId) -> List[Any]:
        """The copies that were made for `clone`."""
        return list(self._copies[clone].values())

    def original(self, copy: Any) -> Any:
        """The operation that `copy` was made of; None if it is no copy."""
        return next((op for copies in self._copies.values() for op, made in copies.items()
                     if made is copy), None)

    def op(self, op: Any, clone: CloneId) -> Any:
        """What stands for `op` in `clone`: its copy, or `op` itself if it is shared."""
        return self._copies[clone].get(op, op)

    def tensor(self, tensor: Any, clone: CloneId) -> Any:
        """What stands for `tensor` in `clone`."""
        copy = self._copies[clone].get(tensor.op)
        if copy is not None:
            return copy.outputs[tensor.value_index]
        if clone != self.clones[0] and tensor.name in self._instead:
            return self._instead[tensor.name]
        return self._behind(tensor, clone)

    def is_behind(self, tensor: Any) -> bool:
        """True for a tensor that all clones share, and read as it is."""
        return not self.has(tensor.op) and tensor.name not in self._instead and all(
            self._behind(tensor, clone) is tensor for clone in self.clones)

    def read_instead(self, tensor: Any, value: Any) -> None:
        """Let the copies read `value` in place of a shared tensor."""
        self._instead[tensor.name] = value
        readers = [copy for clone in self.clones[1:] for copy in self._copies[clone].values()
                   if any(t is tensor for t in copy.inputs)]
        for copy in readers:
            editor.replace_input(copy, tensor, value)

    def add(self, ops: Iterable[Any], clones: Iterable[CloneId],
            device: Callable[[Any, CloneId], str], dropped: Iterable[Any] = ()) -> None:
        """Copy operations for some clones.

        Args:
          ops: operations to copy; those that are copied already are left out.
          clones: for which clones; the first clone is left out.
          device: `(op, clone)` -> device of the copy.
          dropped: operations that copies do not wait for.
        """
        new = sorted((op for op in ops if not self.has(op)), key=compat.op_id)
        if not new:
            return
        template = _Template(new, set(dropped), self._counted, self._adapt)
        for clone in clones:
            if clone != self.clones[0]:
                self._copy(template, clone, device)

    def _copy(self, template: "_Template", clone: CloneId, device: Any) -> None:
        scope = self._free_scope("/".join([self._scope, self._names[clone]]), template.ops)
        definition = template.definition(scope, self._numbers[clone],
                                         lambda op: device(op, clone))
        feeds = {key: self.tensor(tensor, clone)
                 for key, tensor in template.inputs.items()}
        with compat.inserted(self._graph, self._scope), \
                compat.plain_imports(self._graph, [scope + op.name for op in template.ops]):
            tf.import_graph_def(definition, input_map=feeds, name=scope)
        copies = self._copies[clone]
        for op in template.ops:
            copies[op] = self._graph.get_operation_by_name(scope + op.name)
        for op, waits_for in template.controls:
            editor.wait_for(self.op(op, clone), [self.op(c, clone) for c in waits_for])


    def _free_scope(self, scope: str, ops: List[Any]) -> str:
        """`scope`, or one with a number, in which none of the names of `ops` is in use.

        An operation may be called as the scope of others that were copied before.
        """
        found, number = scope + "/", 0
        while any(found + op.name in self._taken for op in ops):
            number += 1
            found = "{}_{}/".format(scope, number)
        for op in ops:
            name = found + op.name
            while name and name not in self._taken:
                self._taken.add(name)
                name = name.rpartition("/")[0]
        return found


class _Template:
    """A set of operations as a `GraphDef` that is adapted to one clone after the other."""

    def __init__(self, ops: List[Any], dropped: Set[Any], counted: Callable[[Any], Any],
                 adapt: Callable[[Any], None]):
        self.ops = ops
        self.inputs: Dict[str, Any] = {}
        self.controls: List[Tuple[Any, List[Any]]] = []
        self._definition = tf.GraphDef()
        self._definition.versions.CopyFrom(ops[0].graph.graph_def_versions)
        self._loops: List[Tuple[int, str]] = []
        self._seeds: List[Tuple[int, Tuple[int, int]]] = []
        members = set(ops)
        for number, op in enumerate(ops):
            self._add(number, op, members, dropped, counted(op))
            adapt(self._definition.node[number])

    def _add(self, number: int, op: Any, members: Set[Any], dropped: Set[Any],
             counted: Any) -> None:
        node = self._definition.node.add()
        node.CopyFrom(op.node_def)
        node.attr.pop("_class", None)  # names the original; the device says where the copy belongs
        del node.input[:]
        if counted is not None:
            _compute(node, counted)
        for tensor in op.inputs if counted is None else [counted.tensor]:
            key = tensor.name if tensor.value_index else tensor.op.name
            node.input.append(key)
            if tensor.op not in members:
                self.inputs[key] = tensor
        outside = []
        for source in op.control_inputs:
            if source in members:
                node.input.append("^" + source.name)
            elif source not in dropped:
                outside.append(source)
        if outside:
            self.controls.append((op, outside))
        if loops.is_enter(op):
            self._loops.append((number, node.attr["frame_name"].s.decode()))
        drawn = op_traits.seeds(op.node_def, op.op_def) if op_traits.is_random(op) else None
        if drawn is not None and any(drawn):
            self._seeds.append((number, drawn))

    def definition(self, prefix: str, seed_number: int, device: Callable[[Any], str]) -> Any:
        """The `GraphDef` for one clone.

        Args:
          prefix: put before the frame names of loops, which must differ between clones.
          seed_number: number of the clone among those of all workers.
          device: operation -> device of its copy.
        """
        nodes = self._definition.node
        for number, frame in self._loops:
            nodes[number].attr["frame_name"].s = (prefix + frame).encode()
        for number, drawn in self._seeds:
            nodes[number].attr["seed2"].i = mixed_seed(drawn, seed_number)
        for op, node in zip(self.ops, nodes):
            node.device = device(op)
        return self._definition


def _compute(node: Any, counted: Any) -> None:
    """Make the constant `node` compute what it stands for (see `ir.static_shapes`)."""
    dtype = node.attr["dtype"].type
    node.op = counted.type
    node.attr.pop("value")
    node.attr.pop("dtype")
    node.attr["T"].type = counted.tensor.dtype.base_dtype.as_datatype_enum
    if counted.type != "ZerosLike":
        node.attr["out_type"].type = dtype
