# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `sources`: every clone gets rows of its own.

    fed placeholder     one per clone; a session run divides the fed array between them
    iterator, queue     one per micro-batch; they take their batches one after the other

                get_next (0, 0) --> get_next (0, 1) --> ... --> get_next (1, 0) --> ...

so that two runs see the same rows in the same places. Where a stage has several devices, the batch
of an iterator is cut into slices:

    get_next --> rows [0, n/2) --> clone (0, 0, slice 0)
             --> rows [n/2, n) --> clone (0, 0, slice 1)

Outside of training steps the script's own operations work on the whole batch: the number of slices
is 1 unless a step feeds it.
"""

from typing import Any, Dict, Iterable, KeysView, List, Set

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.rewrite import op_traits
from epl.rewrite.clones import CloneId, CloneMap

_SCOPE = "epl/sources"


class Sources:
    """The sources of a graph, shared by all its gradients."""

    def __init__(self, graph: Any, clones: List[CloneId]):
        self._graph = graph
        self._copies = CloneMap(graph, _SCOPE, clones, 0)
        self._pieces: Dict[Any, Dict[CloneId, Any]] = {}
        self._whole: Set[str] = set()  # the batches that are cut
        self._num_slices = 1 + max(clone.slice for clone in clones)
        self.count: Any = None  # the number of slices, a tensor that steps feed

    @property
    def clones(self) -> List[CloneId]:
        """The clones of this worker; the first is the script's own operations."""
        return self._copies.clones

    @property
    def num_slices(self) -> int:
        return self._num_slices

    @property
    def slices(self) -> KeysView[Any]:
        """The operations that cut the first clone's slice; nothing behind them is copied."""
        return self._pieces.keys()

    def tensor(self, tensor: Any, clone: CloneId) -> Any:
        """What stands for a source's `tensor` in `clone`; `tensor` itself if it is no source's."""
        if tensor.op in self._pieces:
            return self._pieces[tensor.op][clone]
        if op_traits.is_fed_per_batch(tensor.op):
            return self._copies.tensor(tensor, clone)
        return self._copies.tensor(tensor, clone._replace(slice=0))

    def add(self, sources: Iterable[Any]) -> None:
        """Make the copies that are missing."""
        new = [op for op in sources if op not in self._pieces and not self._copies.has(op)]
        fed = [op for op in new if op_traits.is_fed_per_batch(op)]
        taken = [op for op in new if not op_traits.is_fed_per_batch(op)]
        whole = [clone for clone in self._copies.clones if clone.slice == 0]
        self._copies.add(fed, self._copies.clones, lambda op, clone: op.device)
        self._copies.add(taken, whole, lambda op, clone: op.device)
        for op in taken:
            for before, after in zip(whole, whole[1:]):
                editor.wait_for(self._copies.op(op, after), [self._copies.op(op, before)])

    def cut(self, sources: Iterable[Any]) -> bool:
        """Cut the batches of iterators and queues into slices, where there are several.

        Returns:
          True if anything was cut: the script's graph has changed.

        Raises:
          NotImplementedError: a batch whose first dimension is fixed, or of unknown rank.
        """
        if self._num_slices == 1:
            return False
        self.add(sources)
        taken = [op for op in sources
                 if op not in self._pieces and not op_traits.is_fed_per_batch(op)]
        batches = [t for op in taken for t in op.outputs if t.shape.ndims != 0
                   and t.name not in self._whole
                   and (not op.inputs or any(op_traits.is_handle(i) for i in op.inputs))]
        for tensor in batches:
            self._whole.add(tensor.name)
            self._cut(tensor)
        return bool(batches)

    def _cut(self, tensor: Any) -> None:
        if tensor.shape.ndims is None or compat.static_shape(tensor)[0] is not None:
            raise NotImplementedError(
                "'{}' of shape {} cannot be cut into the {} slices that epl.replicate(device_count="
                "...) asks for: its first dimension must be known to be the batch, but of no fixed "
                "size; use batch(..., drop_remainder=False), or device_count=1".format(
                    tensor.name, tensor.shape, self._num_slices))
        readers = tensor.consumers()
        pieces: Dict[CloneId, Any] = {}
        for clone in self._copies.clones:
            name = "/".join([_SCOPE, clone.describe(self._num_slices), tensor.op.name,
                             "output_{}".format(tensor.value_index)])
            with compat.inserted(self._graph, name), tf.device(tensor.op.device or None):
                pieces[clone] = self._piece(self.tensor(tensor, clone), clone)
        first = pieces[self._copies.clones[0]]
        first.set_shape(tensor.shape)
        for reader in readers:
            editor.replace_input(reader, tensor, first)
        self._pieces[first.op] = pieces

    def _piece(self, tensor: Any, clone: CloneId) -> Any:
        if self.count is None:
            with compat.inserted(self._graph, _SCOPE):
                self.count = tf.placeholder_with_default(1, [], "num_slices")
        count = self.count if clone[:2] == self._copies.clones[0][:2] else self._num_slices
        rows = tf.shape(tensor)[0]
        check = tf.Assert(tf.equal(rows % count, 0), [
            "a batch of so many rows cannot be cut into so many slices as epl.replicate("
            "device_count=...) asks for; choose a batch size that is a multiple:", rows, count])
        with tf.control_dependencies([check]):
            size = rows // count
        return tf.identity(tensor[clone.slice * size:(clone.slice + 1) * size])
