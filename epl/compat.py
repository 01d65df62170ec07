# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every private part of TensorFlow that EPL touches, and every difference between its versions.

Most of these have kept their names since TensorFlow 1.15; a version that moves one needs a change
here and nowhere else. Those that were not tried (`SUPPORTED`) are refused before anything private
is read.
"""

import contextlib
import functools
import os
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set

import tensorflow.compat.v1 as tf

# (first, last) of the versions that scripts/matrix.sh runs; docs/versions.md has its table.
SUPPORTED = (((1, 15), (1, 15)), ((2, 10), (2, 21)))


def require_supported(version: str) -> None:
    """Raise ImportError, with one line, if this TensorFlow is none that EPL was tried with."""
    number = tuple(int(part) for part in version.split(".")[:2])
    if not any(first <= number <= last for first, last in SUPPORTED):
        raise ImportError(
            "EPL supports TensorFlow 1.15 and 2.10 to 2.21, and this is {}: install another, such "
            "as \"tensorflow>=2.10,<2.22\"".format(version))


require_supported(tf.version.VERSION)

from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.client import session as session_module
from tensorflow.python.data.ops import dataset_ops as dataset_ops_module
from tensorflow.python.framework import c_api_util, importer
from tensorflow.python.framework import kernels as kernels_module
from tensorflow.python.framework import ops as ops_module
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow.python.ops import array_ops, control_flow_util, gradients_util
from tensorflow.python.saved_model.builder_impl import SavedModelBuilder
from tensorflow.python.summary.writer import writer as summary_writer_module
from tensorflow.python.training import monitored_session as monitored_session_module
from tensorflow.python.training import saver as saver_module
from tensorflow.python.training import supervisor as supervisor_module
from tensorflow.python.training import training_util
from tensorflow.python.training.experimental.loss_scale import DynamicLossScale
from tensorflow.python.util import nest

try:
    from tensorflow.python.util import _pywrap_util_port as util_port
except ImportError:  # 1.15
    util_port = None

try:
    from tensorflow_estimator.python.estimator import run_config as run_config_module
    from tensorflow_estimator.python.estimator import training as estimator_training_module
except ImportError:  # there is none from TensorFlow 2.16 on; what an update left behind is broken
    run_config_module = estimator_training_module = None

__all__ = [
    "DynamicLossScale", "FuncGraph", "SavedModelBuilder", "array_ops", "gradients_util",
    "monitored_session_module",
    "ops_module", "saver_module", "session_module", "summary_writer_module", "supervisor_module",
    "training_util",
]


# Held while a function of TensorFlow is another one: threads may build graphs at the same time.
_PATCHING = threading.RLock()

# What EPL patches, and TensorFlow keeps to itself.
MonitoredSessionBase = monitored_session_module._MonitoredSession

# Kernels for CPUs that TensorFlow 2 takes on processors that have instructions for them, or as
# TF_ENABLE_ONEDNN_OPTS says.
HAS_ONEDNN = util_port is not None and bool(util_port.IsMklEnabled())

HAS_ESTIMATOR = run_config_module is not None
if HAS_ESTIMATOR:
    RunConfig = run_config_module.RunConfig
    CheckpointListenerForEvaluate = estimator_training_module._NewCheckpointListenerForEvaluate
    EstimatorExecutor = estimator_training_module._TrainingExecutor

# TensorFlow 2 has two families of datasets, 1.15 as well; none of them is a base of all.
DATASET_TYPES = (tf.data.Dataset, dataset_ops_module.DatasetV2)


def is_top_level(graph: Any) -> bool:
    """False for the body of a function or of v2 control flow."""
    return not isinstance(graph, FuncGraph) and not getattr(graph, "building_function", False)


def outermost(graph: Any) -> Any:
    """The graph that a function's body, or one in it, is built for."""
    while not is_top_level(graph):
        outer = getattr(graph, "outer_graph", None) or getattr(graph, "_outer_graph", None)
        if outer is None:
            return graph
        graph = outer
    return graph


@functools.lru_cache(maxsize=None)
def _id_offset() -> int:
    """How far an operation's id is ahead of its graph's version: 0 in TensorFlow 1, 1 in 2.15."""
    with tf.Graph().as_default() as graph:
        return int(tf.no_op()._id - graph.version)


def last_id(graph: Any) -> int:
    """The id of the operation that was created last; later ones have larger ids."""
    return int(graph.version + _id_offset())


def misjudges_branches() -> bool:
    """True if the graph optimizers take shapes of a branch not taken for those of the other."""
    major, minor = tf.version.VERSION.split(".")[:2]
    return (int(major), int(minor)) >= (2, 15)


def control_flow_context(graph_or_op: Any) -> Any:
    """The v1 `tf.cond`/`tf.while_loop` that an operation is in, or that is open in a graph.

    What comes out of a loop is outside of it.
    """
    context = graph_or_op._get_control_flow_context()
    if context is not None and getattr(graph_or_op, "type", "") in ("Exit", "RefExit"):
        return context.outer_context
    return context


@contextlib.contextmanager
def control_flow_v1() -> Iterator[None]:
    """`tf.cond` builds the operations of both branches into the graph, no functions."""
    enabled = control_flow_util.ENABLE_CONTROL_FLOW_V2
    control_flow_util.ENABLE_CONTROL_FLOW_V2 = False
    try:
        yield
    finally:
        control_flow_util.ENABLE_CONTROL_FLOW_V2 = enabled


def inner_context(op: Any) -> Any:
    """The v1 `tf.cond`/`tf.while_loop` that an operation was built in, or comes out of."""
    return op._get_control_flow_context()


def in_loop(op: Any) -> bool:
    """True for an operation inside of a v1 `tf.while_loop`."""
    return loop_name(op) is not None


def loop_name(op: Any) -> Optional[str]:
    """The name of the innermost v1 `tf.while_loop` around an operation; None if there is none."""
    context = control_flow_context(op)
    while context is not None and not context.IsWhileContext():
        context = context.outer_context
    return None if context is None else context.name


@contextlib.contextmanager
def without_checkpoint(creator: Any) -> Iterator[None]:
    """Meanwhile a session creator restores nothing."""
    sources = creator._checkpoint_dir, creator._checkpoint_filename_with_path
    creator._checkpoint_dir = creator._checkpoint_filename_with_path = None
    try:
        yield
    finally:
        creator._checkpoint_dir, creator._checkpoint_filename_with_path = sources


def as_chief(creator: Any) -> Any:
    """A session creator with the settings of a worker's that initializes variables itself."""
    return monitored_session_module.ChiefSessionCreator(
        scaffold=creator._scaffold, master=creator._master, config=creator._config)


def note_evaluation(listener: Any, global_step: int) -> None:
    """The evaluation of a checkpoint listener is as good as done."""
    listener._timer.update_last_triggered_step(global_step)


@contextlib.contextmanager
def inserted(graph: Any, scope: str, context: Any = None) -> Iterator[None]:
    """Build operations that owe nothing to what the script has open.

    Args:
      graph: where to build.
      scope: absolute name scope.
      context: v1 control-flow context that the operations belong to; None: outside of all.
    """
    with graph.as_default(), tf.control_dependencies(None), tf.device(None), \
            tf.name_scope(scope + "/"):
        outer = graph._get_control_flow_context()
        graph._set_control_flow_context(context)
        try:
            yield
        finally:
            graph._set_control_flow_context(outer)


@contextlib.contextmanager
def observed_gradients(begin: Callable[[Any], None]) -> Iterator[None]:
    """While gradients are built, tell `begin` which operation is differentiated from then on.

    Takes the place of `colocate_gradients_with_ops`, which says the same in a form that is not as
    exact: the gradients of what is colocated with something name that. Between two operations, and
    at the end, `begin` gets None. A gradient function may ask for gradients itself: after these
    `begin` gets the operation again whose gradient it builds. Other threads build theirs as ever.
    """
    open_ops: List[Any] = [None]
    builder = threading.get_ident()

    @contextlib.contextmanager
    def observed(op: Any, gradient_uid: Any, colocate: Any) -> Iterator[None]:
        if threading.get_ident() != builder:
            with original(op, gradient_uid, colocate):
                yield
            return
        open_ops.append(op)
        begin(op)
        try:
            with original(op, gradient_uid, False):
                yield
        finally:
            open_ops.pop()
            begin(open_ops[-1])

    with _PATCHING:
        original = gradients_util._maybe_colocate_with
        gradients_util._maybe_colocate_with = observed
        try:
            yield
        finally:
            gradients_util._maybe_colocate_with = original


@contextlib.contextmanager
def plain_imports(graph: Any, names: Iterable[str]) -> Iterator[None]:
    """Imports into `graph` only make the operations `names`, which are all that come.

    No device functions, no colocation, no contexts of control flow: to look for these takes
    TensorFlow's importer as long as all the rest. Nor does it look for what is new among all
    operations of the graph, as TensorFlow 1.15 does.
    """

    def make(target: Any) -> None:
        if target is not graph:  # another thread's
            usual(target)
            return
        for c_op in _new_operations(graph, names):
            graph._create_op_from_tf_operation(c_op, compute_device=False)

    with _PATCHING:
        usual = importer._ProcessNewOps
        importer._ProcessNewOps = make
        try:
            yield
        finally:
            importer._ProcessNewOps = usual


def _new_operations(graph: Any, names: Iterable[str]) -> Iterable[Any]:
    """What an import has just added to `graph`: C operations that Python does not know yet."""
    if hasattr(graph, "new_operations"):  # from TensorFlow 2.13 on
        return graph.new_operations()
    c_api = c_api_util.c_api
    if hasattr(c_api, "TF_GraphOperationByName"):  # SWIG's, of TensorFlow 1.15
        return [c_api.TF_GraphOperationByName(graph._c_graph, name) for name in names]
    return list(c_api_util.new_tf_operations(graph))


def registered_flops(op: Any) -> Optional[int]:
    """Floating-point operations of `op` as TensorFlow's profiler counts them.

    None if it does not count this type. Raises ValueError for shapes that are not known.
    """
    found = ops_module.get_stats_for_node_def(op.graph, op.node_def, "flops").value
    return None if found is None else int(found)


def op_id(op: Any) -> int:
    """The number of an operation: later ones of its graph have larger numbers."""
    return int(op._id)


def operations_from(graph: Any, first: int, number: Optional[int] = None) -> List[Any]:
    """The operations of `graph` from the one with the id `first` on; at most `number`."""
    found = [op for op in graph.get_operations()[max(0, first - 2):] if op_id(op) >= first]
    return found[:number]


def is_closed(session: Any) -> bool:
    """True if `session`, a `tf.Session`, can run nothing any more."""
    return bool(session._closed)


def add_control_inputs(op: Any, others: List[Any]) -> None:
    """Make `op` wait for other operations."""
    op._add_control_inputs(others)


def control_outputs(op: Any) -> List[Any]:
    """The operations that wait for `op`."""
    return list(op._control_outputs)


def set_device(op: Any, device: str) -> None:
    """Put `op` on a device."""
    op._set_device(device)


def set_int_attribute(op: Any, name: str, value: int) -> None:
    """Change an integer attribute of an operation that no session has run yet."""
    op._set_attr(name, attr_value_pb2.AttrValue(i=value))


def set_shape(op: Any, shape: List[int]) -> None:
    """Change the shape of a variable that no session has run yet."""
    op._set_attr("shape", attr_value_pb2.AttrValue(shape=tf.TensorShape(shape).as_proto()))


def set_value(op: Any, value: Any) -> None:
    """Change the value of a constant that no session has run yet; `value`: a `TensorProto`."""
    op._set_attr("value", attr_value_pb2.AttrValue(tensor=value))


def set_function(op: Any, name: str, function: str) -> None:
    """Change which function an operation calls that no session has run yet."""
    op._set_attr(name, attr_value_pb2.AttrValue(
        func=attr_value_pb2.NameAttrList(name=function)))


def set_text_attribute(op: Any, name: str, value: str) -> None:
    """Give an operation that no session has run yet an attribute of text."""
    op._set_attr(name, attr_value_pb2.AttrValue(s=value.encode()))


def function_names(node_def: Any) -> List[str]:
    """Names of the functions that are attributes of a node."""
    found = []
    for attribute in node_def.attr.values():
        if attribute.HasField("func"):
            found.append(attribute.func.name)
        elif attribute.HasField("list"):
            found.extend(function.name for function in attribute.list.func)
    return found


def colocated_with(op: Any) -> List[Any]:
    """The operations that `op` asks to share a device with, without itself."""
    try:
        names = op.get_attr("_class")
    except ValueError:
        return []
    found = []
    for name in names:
        text = name.decode().split("@", 1)[-1]
        if text != op.name:
            try:
                found.append(op.graph.get_operation_by_name(text))
            except KeyError:
                pass  # an imported graph may name what it left out
    return found


def forget_colocation(op: Any) -> None:
    """Let `op` be placed by its device alone."""
    if colocated_with(op):
        op._clear_attr("_class")


@functools.lru_cache(maxsize=None)
def _kernels(op_type: str) -> Any:
    return list(kernels_module.get_registered_kernels_for_op(op_type).kernel)


def runs_on_gpu(op: Any) -> bool:
    """True if TensorFlow has a GPU kernel for `op` and its element types, or `op` is a function."""
    kernels = _kernels(op.type)
    return not kernels or any(kernel.device_type == "GPU" and _allows(kernel, op)
                              for kernel in kernels)


def _allows(kernel: Any, op: Any) -> bool:
    for constraint in kernel.constraint:
        allowed = list(constraint.allowed_values.list.type)
        value = op.node_def.attr[constraint.name]
        used = [value.type] if value.HasField("type") else list(value.list.type)
        if allowed and not set(used) <= set(allowed):
            return False
    return True


@contextlib.contextmanager
def reopened(graph: Any) -> Iterator[None]:
    """Operations can be added to `graph` though it is finalized."""
    finalized = graph.finalized
    if finalized:
        graph._unsafe_unfinalize()
    try:
        yield
    finally:
        if finalized:
            graph._finalized = True


def copy_with_inputs(op: Any, inputs: List[Any]) -> Any:
    """A new operation such as `op` that reads `inputs`."""
    definition = tf.GraphDef()
    definition.versions.CopyFrom(op.graph.graph_def_versions)
    node = definition.node.add()
    node.CopyFrom(op.node_def)
    node.attr.pop("_class", None)
    del node.input[:]
    node.input.extend("input_{}:0".format(number) for number in range(len(inputs)))
    feeds = {"input_{}:0".format(number): tensor for number, tensor in enumerate(inputs)}
    return tf.import_graph_def(definition, feeds, return_elements=[op.name])[0]


def remove_control_inputs(op: Any, unwanted: Any) -> None:
    """Make `op` wait no longer for the operations in `unwanted`."""
    kept = [source for source in op.control_inputs if source not in unwanted]
    if len(kept) < len(op.control_inputs):
        op._remove_all_control_inputs()
        op._add_control_inputs(kept)


def static_shape(tensor: Any) -> List[Optional[int]]:
    """The static shape of a tensor of known rank, None for unknown dimensions."""
    return list(tensor.shape.as_list())


_LIBRARIES = tuple(os.path.join(os.path.dirname(path), "") for path in (
    os.path.dirname(os.path.dirname(session_module.__file__)), __file__,
    getattr(run_config_module, "__file__", __file__)))
_KERAS = tuple(os.path.join(os.sep, name, "") for name in ("keras", "tf_keras"))


def made_at(op: Any) -> str:
    """" (train.py:12)", the script's line that made `op`; "" if no script's line did."""
    for frame in reversed(list(op.traceback or ())):
        path, line = frame[0], frame[1]
        if not path.startswith(_LIBRARIES) and not path.startswith("<") \
                and not any(name in path for name in _KERAS):
            return " ({}:{})".format(os.path.relpath(path) if path.startswith(
                os.path.join(os.getcwd(), "")) else path, line)
    return ""


def fed_tensor(key: Any) -> Any:
    """The tensor that a key of a session's flat feeds stands for."""
    return key.deref() if hasattr(key, "deref") else key


def flat_feeds(feed_dict: Any) -> Dict[Any, Any]:
    """A script's `feed_dict` with its tuples of keys taken apart."""
    return dict(nest.flatten_dict_items(feed_dict))


def feed_key(tensor: Any) -> Any:
    """The key for `tensor` in a session's flat feeds."""
    return tensor.ref() if hasattr(tensor, "ref") else tensor


def replace_input(consumer: Any, old: Any, new: Any) -> None:
    """Make `consumer` read `new` wherever it reads `old`."""
    for index, tensor in enumerate(consumer.inputs):
        if tensor is old:
            consumer._update_input(index, new)


def is_ref(tensor: Any) -> bool:
    """True for a tensor that aliases a ref variable."""
    return bool(tensor.dtype._is_ref_dtype)


def variable_key(variable: Any) -> Any:
    """The operation that stands for a variable in the graph: its buffer or its handle."""
    return variable.handle.op if hasattr(variable, "handle") else variable.op


def variable_of(graph: Any, key: Any) -> Any:
    """The variable of `graph` that an operation stands for."""
    return next(v for v in global_variables(graph) if variable_key(v) is key)


def read_variable(variable: Any) -> Any:
    """A new operation that reads a variable when it runs."""
    if hasattr(variable, "handle"):
        return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype.base_dtype)
    return tf.identity(variable.op.outputs[0])


def assign_op(variable: Any, value: Any) -> Any:
    """A new operation that assigns `value` to a variable."""
    if hasattr(variable, "handle"):
        return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
    return tf.raw_ops.Assign(ref=variable.op.outputs[0], value=value, use_locking=True).op


class PartOfVariable:
    """A variable that lives within a step, of the kind of another one.

    Attributes:
      reference: its reference or handle.
      begun: runs when it has its first value.
    """

    def __init__(self, like: Any, value: Any, shape: List[int], name: str):
        """Add one.

        Args:
          like: the reference or handle of a variable.
          value: what it begins with.
          shape: of that; where it is used it does not show.
          name: unique in the graph.
        """
        self._dtype, self._name = value.dtype, name
        self._is_resource = like.dtype == tf.resource
        if self._is_resource:
            self.reference = tf.raw_ops.VarHandleOp(
                dtype=value.dtype, shape=shape, shared_name=name)
            self.begun = tf.raw_ops.AssignVariableOp(resource=self.reference, value=value)
        else:
            self.reference = tf.raw_ops.Assign(
                ref=tf.raw_ops.TemporaryVariable(shape=shape, dtype=value.dtype, var_name=name),
                value=value, validate_shape=False)
            self.begun = self.reference.op

    def taken(self, writes: List[Any]) -> Any:
        """Its value when `writes` have run, and operations that free it then."""
        with tf.control_dependencies(writes):
            if not self._is_resource:
                value = tf.raw_ops.DestroyTemporaryVariable(
                    ref=self.reference, var_name=self._name)
                return value, []
            value = tf.raw_ops.ReadVariableOp(resource=self.reference, dtype=self._dtype)
        with tf.control_dependencies([value]):
            return value, [tf.raw_ops.DestroyResourceOp(
                resource=self.reference, ignore_lookup_error=False)]


def dataset_ops(dataset: Any) -> List[Any]:
    """The operations that make a dataset, the last first."""
    found = [dataset._variant_tensor.op]
    for op in found:
        found.extend(t.op for t in op.inputs if t.op not in found)
    return found


def has_weights(graph: Any) -> bool:
    """True if a model has begun in `graph`: a learning rate or a counter is none."""
    return any(v.dtype.is_floating and (v.trainable or v.shape.ndims != 0)
               for v in global_variables(graph))


def initializers(graph: Any) -> Set[Any]:
    """The operations that give the variables of `graph` their first values."""
    return {variable.initializer for key in (
        tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.LOCAL_VARIABLES,
        tf.GraphKeys.TRAINABLE_VARIABLES) for variable in graph.get_collection(key)
        if getattr(variable, "initializer", None) is not None}


class BucketSaverBuilder(saver_module.BaseSaverBuilder):
    """A builder of sharded savers whose shards a subclass chooses."""

    def buckets(self, saveables: Any) -> Any:
        """[(device, [saveable])], a pair for each shard."""
        raise NotImplementedError

    def _GroupByDevices(self, saveables: Any) -> Any:
        return self.buckets(saveables)


def set_initial_value(variable: Any, value: Any) -> None:
    """Let a variable begin with `value`."""
    if hasattr(variable, "handle"):
        variable._initializer_op = variable.assign(value, read_value=False)
    else:
        variable._initializer_op = variable.assign(value, use_locking=True).op


def checkpoint_name(variable: Any) -> str:
    """What a checkpoint calls a variable; parts of a partitioned one have a name in common."""
    info = variable._get_save_slice_info()
    return variable.op.name if info is None else info.full_name


def checkpoint_slice(variable: Any) -> Any:
    """(first element, number of elements) along each axis of a part; None for a whole variable."""
    info = variable._get_save_slice_info()
    return None if info is None else (tuple(info.var_offset), tuple(info.var_shape))


def global_variables(graph: Any) -> List[Any]:
    """All global and trainable variables of `graph`, each once, sorted by name."""
    found = {}
    for key in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES):
        for variable in graph.get_collection(key):
            found[variable.op.name] = variable
    return [found[name] for name in sorted(found)]
