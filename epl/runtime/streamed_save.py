# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is written while what workers hold of it comes in.

    variables of this worker --------------> part 0 --+
    rows of all workers --> one variable --> part 1 --+--> merged: what tf.train.Saver writes
                        --> the next ones -> part 2 --+

So no more than some variables of the optimizer's state are on the chief beside its own rows. The
parts are TensorFlow's own format for large checkpoints; any TensorFlow restores them.
"""

import os
import uuid
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.graph_state import state_of
from epl.rewrite import rewriter
from epl.rewrite.walk import ancestors
from epl.runtime.runs import Run

_PART_BYTES = 64 << 20


class Save(NamedTuple):
    """What writes a checkpoint.

    Attributes:
      name: the tensor that holds its name.
      held: name of what stands for a variable that is shared out -> its name in the checkpoint.
      rest: writes all but these, and is fed the name of its file; None: these are all.
      prefix: that name.
    """

    name: Any
    held: Dict[str, str]
    rest: Any
    prefix: Any


class Saves:
    """Operations that write a checkpoint -> what is known of them; None: it is none like others."""

    def __init__(self) -> None:
        self.known: Dict[Any, Optional[Save]] = {}


def find(graph: Any, run: Run, fetches: Sequence[Any]) -> Optional[Save]:
    """What a run writes a checkpoint by, if it does nothing else; else None.

    Args:
      graph: the graph.
      run: what it does.
      fetches: what it returns; that can only be the name of the checkpoint.
    """
    if not run.touched.read or run.touched.given:
        return None
    reached = ancestors([t.op for t in fetches] + list(run.targets))
    writes = sorted((op for op in reached if op.type == "SaveV2"), key=compat.op_id)
    merges = [op for op in reached if op.type == "MergeV2Checkpoints"]
    if not writes or len(merges) > 1 or len(writes) > 1 and not merges:
        return None
    name = merges[0].inputs[1] if merges else writes[0].inputs[0]
    last = merges or writes
    if any(op not in last for op in run.targets) or not all(
            t.op.type == "Identity" and t.op.inputs[0] is name for t in fetches):
        return None
    saves = state_of(graph).record(Saves).known
    if last[0] not in saves:
        saves[last[0]] = _taken_apart(graph, name, writes, run.touched.read)
    return saves[last[0]]


def _taken_apart(graph: Any, name: Any, writes: Sequence[Any], readers: Dict[Any, List[Any]]
                 ) -> Optional[Save]:
    by_tensor = {tensor.name: key.name for key, tensors in readers.items() for tensor in tensors}
    held: Dict[str, str] = {}
    rest: List[Any] = []
    for op in writes:
        names, slices = [tf.get_static_value(tensor) for tensor in op.inputs[1:3]]
        if names is None or slices is None:
            return None
        for each, part, tensor in zip(names, slices, list(op.inputs)[3:]):
            source = tensor
            while source.op.type == "Identity" and source.name not in by_tensor:
                source = source.op.inputs[0]
            if source.name not in by_tensor:
                rest.append((each, part, tensor))
            elif part:
                return None
            else:
                held[by_tensor[source.name]] = each.decode()
    if len(held) != len(readers):
        return None
    with rewriter.extended(graph, state_of(graph)), compat.inserted(graph, "epl/zero/save"), \
            tf.device("/device:CPU:0"):
        prefix = tf.placeholder(tf.string, [])
        if not rest:
            return Save(name, held, None, prefix)
        names, slices, tensors = zip(*rest)
        return Save(name, held, tf.raw_ops.SaveV2(
            prefix=prefix, tensor_names=list(names), shape_and_slices=list(slices),
            tensors=list(tensors)), prefix)


def write(session: Any, save: Save, prefix: str, ask: Callable[..., None]) -> None:
    """Write a checkpoint.

    Args:
      session: the session.
      save: what the script writes it by.
      prefix: the name of the checkpoint.
      ask: hands out whole values of variables, by their names.
    """
    parts = _Parts(prefix)
    if save.rest is not None:
        session.run(save.rest, {save.prefix: parts.next()})
    ask(session, sorted(save.held), lambda name, value: parts.add(save.held[name], value))
    parts.merge()


class _Parts:
    """The parts of a checkpoint."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._folder = "{}_temp_{}".format(prefix, uuid.uuid4().hex)
        self._names: List[str] = []
        self._waiting: Dict[str, Any] = {}
        self._bytes = 0

    def next(self) -> str:
        """The name of another part."""
        self._names.append(os.path.join(self._folder, "part-{:05}".format(len(self._names))))
        return self._names[-1]

    def add(self, name: str, value: Any) -> None:
        """Write a variable, soon."""
        self._waiting[name] = value
        self._bytes += value.nbytes
        if self._bytes >= _PART_BYTES:
            self._write()

    def _write(self) -> None:
        names = sorted(self._waiting)
        with tf.Graph().as_default(), tf.device("/device:CPU:0"):
            given = [tf.placeholder(self._waiting[name].dtype) for name in names]
            op = tf.raw_ops.SaveV2(
                prefix=self.next(), tensor_names=names, shape_and_slices=[""] * len(names),
                tensors=given)
            _run(op, dict(zip(given, (self._waiting[name] for name in names))))
        self._waiting, self._bytes = {}, 0

    def merge(self) -> None:
        """Let the parts be one checkpoint."""
        if self._waiting:
            self._write()
        with tf.Graph().as_default(), tf.device("/device:CPU:0"):
            _run(tf.raw_ops.MergeV2Checkpoints(
                checkpoint_prefixes=self._names, destination_prefix=self._prefix,
                delete_old_dirs=True), {})


def _run(op: Any, fed: Dict[Any, Any]) -> None:
    config = tf.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1,
                            inter_op_parallelism_threads=1, use_per_session_threads=True)
    with tf.Session(config=config) as session:
        session.run(op, fed)
