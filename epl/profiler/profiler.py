# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the default graph costs, without a run: operations and bytes, from shapes alone.

Sizes of batches come from the datasets of the graph's iterators.
"""

from typing import Any, Dict

import tensorflow.compat.v1 as tf

from epl.ir.flops import count
from epl.ir.known_shapes import copy_with_shapes, dataset_shapes


def profile_flops(is_shape_unknown: bool = True) -> Dict[str, int]:
    """Name -> floating-point operations, of all operations of the default graph that have any.

    Args:
      is_shape_unknown: look up the sizes of batches; else what needs them is left out.

    Returns:
      The operations of one run of each, by name.

    Examples:
      >>> from epl.profiler.profiler import profile_flops
      >>> product = tf.matmul(tf.ones([2, 3]), tf.ones([3, 4]), name="product")
      >>> profile_flops()["product"]
      48
    """
    return count(_graph(is_shape_unknown).get_operations())[0]


def profile_memory(is_shape_unknown: bool = True) -> Dict[str, int]:
    """Name -> bytes, of all tensors of the default graph whose shape is known.

    Args:
      is_shape_unknown: look up the sizes of batches; else what needs them is left out.

    Returns:
      The bytes of each, by name.

    Examples:
      >>> from epl.profiler.profiler import profile_memory
      >>> rows = tf.zeros([16, 8], tf.float32, name="rows")
      >>> profile_memory()["rows:0"]
      512
    """
    return {tensor.name: tensor.shape.num_elements() * tensor.dtype.base_dtype.size
            for op in _graph(is_shape_unknown).get_operations() for tensor in op.outputs
            if tensor.shape.num_elements() is not None
            and tensor.dtype.base_dtype not in (tf.resource, tf.variant, tf.string)}


def _graph(is_shape_unknown: bool) -> Any:
    graph = tf.get_default_graph()
    return copy_with_shapes(graph, dataset_shapes(graph)) if is_shape_unknown else graph
