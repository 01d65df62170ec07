# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The rewrite's driver: what happens when a script asks for gradients.

Every way to gradients in graph mode (`tf.gradients`, `Optimizer.minimize`, Estimator, Keras) passes
through one function of TensorFlow. `aggregated_gradients` stands in for it.
"""

from typing import Any, Callable, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.env import Env
from epl.ir.graph_state import GradientGroup, GraphState, state_of
from epl.rewrite.aggregate import ReduceOptions, reduce_gradients
from epl.rewrite.merge import merge_registered
from epl.rewrite.seeds import vary_seeds
from epl.rewrite.statistics import average_updates
from epl.rewrite.verify import verify_group
from epl.rewrite.walk import ancestors


def aggregated_gradients(build: Callable[..., List[Any]], ys: Any, xs: Any, *args: Any,
                         **kwargs: Any) -> List[Any]:
    """Gradients of `ys` with respect to `xs`; those of variables are reduced over the workers.

    Args:
      build: TensorFlow's own function, called with the other arguments.
      ys: tensors to differentiate.
      xs: variables or tensors.

    Returns:
      As `build`: one gradient (dense, sparse or None) per entry of `xs`.

    Raises:
      RuntimeError: several workers, but no strategy is set; or gradients inside control flow.
    """
    graph = tf.get_default_graph()
    env = Env.get()
    if not env.initialized or not compat.is_top_level(graph):
        return build(ys, xs, *args, **kwargs)
    ys, xs = _as_list(ys), _as_list(xs)
    plan = env.plan_for(graph)
    if env.cluster.worker_num == 1:
        return build(ys, xs, *args, **kwargs)
    state = state_of(graph)
    withdrawn = _withdraw_groups_behind(state, ys)
    variables = _variables(graph, xs)
    if not any(v is not None for v in variables):
        return build(ys, xs, *args, **kwargs)
    if compat.control_flow_context(graph) is not None:
        if withdrawn:  # tf.hessians and the like: derivatives of gradients, in a loop
            return build(ys, xs, *args, **kwargs)
        raise RuntimeError("gradients of variables are asked for inside tf.cond or tf.while_loop, "
                           "where a worker may skip them; build the training step outside")
    if plan is None:
        raise RuntimeError(
            "gradients are asked for on {} workers, but no strategy is set: each worker would "
            "train a model of its own; call epl.set_default_strategy(epl.replicate("
            "device_count=1)) before the model is built".format(env.cluster.worker_num))
    vary_seeds(_tensors(ys), env.cluster.worker_index, state.varied_seeds)
    gradients = build(ys, xs, *args, **kwargs)
    return _aggregate(graph, state, variables, gradients)


def _aggregate(graph: Any, state: GraphState, variables: Sequence[Any],
               gradients: List[Any]) -> List[Any]:
    """Reduce the gradients that belong to variables; pass the others on."""
    options = _options()
    chosen = [i for i, (v, g) in enumerate(zip(variables, gradients))
              if v is not None and g is not None]
    raw = [gradients[i] for i in chosen]
    if not raw:
        return gradients
    group = GradientGroup("epl/gradients_{}".format(state.gradient_calls))
    state.gradient_calls += 1
    with compat.inserted(graph, group.name):
        if Env.get().config.communication.sparse_as_dense:
            raw = [tf.convert_to_tensor(gradient) for gradient in raw]
        reduced = reduce_gradients(raw, group.name + "/", options, group.collectives)
    for old, new in zip(raw, reduced):
        group.replaced.extend(zip(_parts(old), _parts(new)))
    state.groups.append(group)
    average_updates(graph, state, options)
    merge_registered(graph)
    verify_group(state, group, [t for g in raw for t in _parts(g)])
    result = list(gradients)
    for index, tensor in zip(chosen, reduced):
        result[index] = tensor
    return result


def _options() -> ReduceOptions:
    env = Env.get()
    communication = env.config.communication
    return ReduceOptions(
        num_workers=env.cluster.worker_num,
        average=communication.gradients_reduce_method == "mean",
        max_splits=communication.max_splits,
        fp16_scale=communication.fp16_scale if communication.fp16 else None)


def _withdraw_groups_behind(state: GraphState, ys: Sequence[Any]) -> bool:
    """Undo the reduction of gradients that `ys` are computed from.

    They turn out not to be for training but part of a loss (a gradient penalty, a Hessian, a
    meta-gradient): each worker needs its own there, and the derivative is reduced instead.
    """
    if not state.groups:
        return False
    behind = ancestors(tensor.op for tensor in _tensors(ys))
    found = [group for group in state.groups if any(c.op in behind for c in group.collectives)]
    for group in found:
        for old, new in group.replaced:
            for consumer in new.consumers():
                compat.replace_input(consumer, new, old)
        state.groups.remove(group)
    return bool(found)


def _variables(graph: Any, xs: Sequence[Any]) -> List[Optional[Any]]:
    """For every entry of `xs` the variable that it is (or whose buffer or handle it is)."""
    known = {compat.variable_key(v): v for v in compat.global_variables(graph)}
    return [known.get(compat.variable_key(x)) for x in xs]


def _tensors(values: Sequence[Any]) -> List[Any]:
    return [part for value in values for part in _parts(value)]


def _parts(value: Any) -> List[Any]:
    if isinstance(value, tf.IndexedSlices):
        return [value.values, value.indices]
    return [value if isinstance(value, tf.Tensor) else tf.convert_to_tensor(value)]


def _as_list(values: Any) -> List[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
