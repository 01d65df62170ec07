# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every private part of TensorFlow that EPL touches, and every difference between its versions.

TensorFlow 1.15 and 2.x (up to 2.15, through `tensorflow.compat.v1`) keep these under the same
names; a version that moves one needs a change here and nowhere else.
"""

import contextlib
from typing import Any, Iterator, List

import tensorflow.compat.v1 as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.client import session as session_module
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow.python.ops import gradients_util
from tensorflow.python.summary.writer import writer as summary_writer_module
from tensorflow.python.training import monitored_session as monitored_session_module
from tensorflow.python.training import saver as saver_module
from tensorflow.python.training import training_util
from tensorflow_estimator.python.estimator import run_config as run_config_module
from tensorflow_estimator.python.estimator import training as estimator_training_module

__all__ = [
    "FuncGraph", "estimator_training_module", "gradients_util", "monitored_session_module",
    "run_config_module", "saver_module", "session_module", "summary_writer_module",
    "training_util",
]


def is_top_level(graph: Any) -> bool:
    """False for the body of a function or of v2 control flow."""
    return not isinstance(graph, FuncGraph) and not getattr(graph, "building_function", False)


def control_flow_context(graph_or_op: Any) -> Any:
    """The v1 `tf.cond`/`tf.while_loop` that an operation is in, or that is open in a graph."""
    return graph_or_op._get_control_flow_context()


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


def set_int_attribute(op: Any, name: str, value: int) -> None:
    """Change an integer attribute of an operation that no session has run yet."""
    op._set_attr(name, attr_value_pb2.AttrValue(i=value))


def replace_input(consumer: Any, old: Any, new: Any) -> None:
    """Make `consumer` read `new` wherever it reads `old`."""
    for index, tensor in enumerate(consumer.inputs):
        if tensor is old:
            consumer._update_input(index, new)


def is_ref(tensor: Any) -> bool:
    """True for a tensor that aliases a ref variable."""
    return bool(tensor.dtype._is_ref_dtype)


def writes_through_ref(op: Any) -> bool:
    """True if `op` takes a ref variable by reference, so that it may write it."""
    return any(arg.is_ref for arg in op.op_def.input_arg) if op.op_def is not None else False


def variable_key(variable: Any) -> Any:
    """The operation that stands for a variable in the graph: its buffer or its handle."""
    return variable.handle.op if hasattr(variable, "handle") else variable.op


def global_variables(graph: Any) -> List[Any]:
    """All global and trainable variables of `graph`, each once, sorted by name."""
    found = {}
    for key in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES):
        for variable in graph.get_collection(key):
            found[variable.op.name] = variable
    return [found[name] for name in sorted(found)]
