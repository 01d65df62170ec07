# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints piece by piece, so that no more than a piece of the model is in memory twice.

    ShardingLoader           read a -> to its variable's device -> read b -> ...
    MemoryEfficientBuilder   read a, b -> write part 0 -> read c -> write part 1 -> ... -> merge
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError, nearest, shown

_HOST = "/device:CPU:0"
_BUCKET_BYTES = 50 << 20


class _Piece(NamedTuple):
    """What a variable gets from a checkpoint.

    Attributes:
      name: of the tensor in the checkpoint.
      begin: the first element along each axis.
      size: elements along each axis.
      whole: shape of the tensor.
    """

    name: str
    begin: Tuple[int, ...]
    size: Tuple[int, ...]
    whole: Tuple[int, ...]

    @property
    def spec(self) -> str:
        """As TensorFlow writes it: "10 4 0,5:0,4"; "" for the whole."""
        if self.size == self.whole:
            return ""
        return "{} {}".format(" ".join(map(str, self.whole)), ":".join(
            "{},{}".format(*each) for each in zip(self.begin, self.size)))


class ShardingLoader:
    """Lets variables begin with values from a checkpoint, one after the other.

        ShardingLoader(tf.train.latest_checkpoint("before")).restore()
        with tf.train.MonitoredTrainingSession() as session: ...

    The initializers of the variables read the checkpoint, each when the value before has come to
    the device of its variable. Of a variable that holds a part of a tensor that part alone is read.
    An initializer that is run alone changes its own variable alone.
    """

    def __init__(self, ckpt_file: Optional[str], var_list: Optional[Sequence[Any]] = None,
                 assign_map: Optional[Mapping[str, str]] = None,
                 sharding_info: Optional[Mapping[str, Any]] = None):
        """Choose what to load.

        Args:
          ckpt_file: a checkpoint; None: nothing is loaded, as before the first one there is.
          var_list: the variables; None: all global ones of the default graph.
          assign_map: name of a variable's operation -> name of its tensor in the checkpoint, where
            these differ.
          sharding_info: name of a tensor in the checkpoint -> {"begin": the first element along
            each axis, "size": how many}, for variables that hold a part of it.
        """
        self._checkpoint = ckpt_file
        self._variables = var_list
        self._names = dict(assign_map or {})
        self._parts = dict(sharding_info or {})

    def restore(self) -> None:
        """Change the initializers. Call it before the session is made, or an initializer of many.

        Raises:
          ConfigError: the checkpoint has no such tensor, or it does not fit, with what it has.
        """
        if self._checkpoint is None:
            tf.logging.warning("ShardingLoader: there is no checkpoint; variables keep their "
                               "initial values")
            return
        reader = tf.train.load_checkpoint(self._checkpoint)
        shapes = reader.get_variable_to_shape_map()
        variables = tf.global_variables() if self._variables is None else self._variables
        pieces = [self._piece(variable, shapes) for variable in variables]
        read: Dict[_Piece, Any] = {}
        before: List[Any] = []
        for variable, piece in zip(variables, pieces):
            with tf.control_dependencies(None), tf.control_dependencies(before), \
                    tf.name_scope("checkpoint_initializer"):
                if piece not in read:
                    with tf.device(_HOST):
                        value = tf.raw_ops.RestoreV2(
                            prefix=self._checkpoint, tensor_names=[piece.name],
                            shape_and_slices=[piece.spec], dtypes=[variable.dtype.base_dtype])[0]
                    value.set_shape(variable.shape)
                    with tf.colocate_with(compat.variable_key(variable)):
                        read[piece] = tf.identity(value)
                    before = [read[piece].op]
            with tf.control_dependencies(None):
                compat.set_initial_value(variable, read[piece])

    def _piece(self, variable: Any, shapes: Mapping[str, Any]) -> _Piece:
        own = variable.op.name
        name = self._names.get(own, compat.checkpoint_name(variable))
        if name not in shapes:
            raise ConfigError("ShardingLoader: {} has no tensor '{}' for variable '{}'; {}".format(
                self._checkpoint, name, own, nearest(name, shapes)))
        whole = tuple(shapes[name])
        begin, size = compat.checkpoint_slice(variable) or ((0,) * len(whole), whole)
        if name in self._parts:
            part = self._parts[name]
            if not isinstance(part, Mapping) or not {"begin", "size"} <= set(part):
                raise ConfigError("sharding_info['{}'] = {}: write {{'begin': [...], 'size': [...]"
                                  "}}".format(name, shown(part)))
            begin, size = tuple(part["begin"]), tuple(part["size"])
        inside = len(begin) == len(size) == len(whole) and all(
            0 <= first and first + count <= length
            for first, count, length in zip(begin, size, whole))
        if not inside or not variable.shape.is_compatible_with(size):
            raise ConfigError(
                "ShardingLoader: variable '{}' of shape {} cannot hold {} elements from {} on of "
                "tensor '{}' of shape {} in {}; sharding_info says which part to load".format(
                    own, variable.shape, list(size), list(begin), name, list(whole),
                    self._checkpoint))
        return _Piece(name, begin, size, whole)


class MemoryEfficientBuilder(compat.BucketSaverBuilder):
    """Lets a `tf.train.Saver` write the checkpoint in parts, one after the other.

        saver = tf.train.Saver(sharded=True, restore_sequentially=True,
                               builder=MemoryEfficientBuilder())

    A part of the model's variables is copied to the host only when the part before is written.
    """

    def __init__(self, sharded_size: int = _BUCKET_BYTES):
        """Choose how much memory it may take.

        Args:
          sharded_size: bytes of the variables in a part; a larger variable is one of its own.
        """
        if isinstance(sharded_size, bool) or not isinstance(sharded_size, int) or sharded_size < 1:
            raise ValueError("sharded_size = {}: bytes are needed, 1 or more".format(
                shown(sharded_size)))
        super().__init__()
        self._limit = sharded_size
        self._written: List[Any] = []

    def buckets(self, saveables: Sequence[Any]) -> List[Tuple[str, List[Any]]]:
        """(device, variables) of the parts."""
        found: List[List[Any]] = []
        filled = 0
        for saveable in saveables:
            size = sum(spec.dtype.base_dtype.size * (spec.tensor.shape.num_elements() or 0)
                       for spec in saveable.specs)
            if not found or filled + size > self._limit:
                found.append([])
                filled = 0
            found[-1].append(saveable)
            filled += size
        self._written = []
        return [(_HOST, bucket) for bucket in found]

    def save_op(self, filename_tensor: Any, saveables: Sequence[Any]) -> Any:
        """Writes a part, when the one before is written."""
        specs = [spec for saveable in saveables for spec in saveable.specs]
        tensors = []
        with tf.control_dependencies(self._written):
            for spec in specs:
                with tf.colocate_with(spec.tensor.op, ignore_existing=True):
                    tensors.append(tf.identity(spec.tensor))
            saved = tf.raw_ops.SaveV2(
                prefix=filename_tensor, tensor_names=[spec.name for spec in specs],
                shape_and_slices=[spec.slice_spec for spec in specs], tensors=tensors)
        self._written = [saved]
        return saved
