# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens when a script asks for gradients: they are noted, and rewritten later.

Every way to gradients in graph mode (`tf.gradients`, `Optimizer.minimize`, Estimator, Keras) passes
through one function of TensorFlow. `noted_gradients` stands in for it. It builds the gradients of
the script's graph and returns them through an identity each. When the graph is complete, before a
session runs it, `rewriter` puts the aggregated gradients behind these identities: by then it is
known which gradients were for training, what is registered and what UPDATE_OPS hold.
"""

import inspect
from typing import Any, Callable, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.data import check_replicas
from epl.env import Env
from epl.ir.graph_state import Gradient, GradientGroup, GraphState, parts, state_of
from epl.rewrite.walk import ancestors


def noted_gradients(build: Callable[..., List[Any]], ys: Any, xs: Any, *args: Any,
                    **kwargs: Any) -> List[Any]:
    """Gradients of `ys` with respect to `xs`; those of variables will be aggregated.

    Args:
      build: TensorFlow's own function, called with the other arguments.
      ys: tensors to differentiate.
      xs: variables or tensors.

    Returns:
      As `build`: one gradient (dense, sparse or None) per entry of `xs`.

    Raises:
      ConfigError: rows that the script divides for another number of replicas.
      RuntimeError: several workers or devices, but no strategy is set; gradients inside control
        flow; gradients of gradients that a session has trained with already.
    """
    graph = tf.get_default_graph()
    env = Env.get()
    if not env.initialized or not compat.is_top_level(graph):
        return build(ys, xs, *args, **kwargs)
    ys, xs = _as_list(ys), _as_list(xs)
    state = state_of(graph)
    withdrawn = _withdraw_groups_behind(state, ys)
    variables = _variables(graph, xs)
    if not any(v is not None for v in variables):
        return build(ys, xs, *args, **kwargs)
    env.open_graph(graph)
    plan = env.intended_plan(graph)
    alone = env.cluster.total_gpu_num == 1 and (plan is None or plan.is_single_device)
    if alone and state.context is None:
        return build(ys, xs, *args, **kwargs)
    if compat.control_flow_context(graph) is not None:
        if withdrawn:  # tf.hessians and the like: derivatives of gradients, in a loop
            return build(ys, xs, *args, **kwargs)
        raise RuntimeError("gradients of variables are asked for inside tf.cond or tf.while_loop, "
                           "where a worker may skip them; build the training step outside")
    if plan is None:
        raise RuntimeError(
            "gradients are asked for on {} worker(s) with {} device(s) each, but no strategy is "
            "set: the script would train on one device of each worker, without the others; call "
            "epl.set_default_strategy(epl.replicate(device_count=1)) before the model is built"
            .format(env.cluster.worker_num, env.cluster.gpu_num_per_worker))
    check_replicas(plan)
    env.settle(graph)
    first = compat.last_id(graph) + 1
    if plan.is_single_device:
        gradients = build(ys, xs, *args, **kwargs)
    else:
        gated = plan.clones_per_worker(env.cluster.worker_index) == 1
        gradients = _build_in_place(state, graph, gated, build, ys, xs, *args, **kwargs)
    result = _noted(graph, state, _tensors(ys), variables, gradients)
    state.gradient_ids.append((first, compat.last_id(graph)))
    return result


def _build_in_place(state: GraphState, graph: Any, gated: bool, build: Callable[..., List[Any]],
                    *args: Any, **kwargs: Any) -> List[Any]:
    """Build gradients of which is known what they are the gradients of.

    An update of a ref variable must not overtake the last reader of its old value. With several
    clones it waits for the last cell of the step; with one gradients have to wait for their
    siblings (`gated`).
    """
    def begin(op: Any) -> None:
        if op is None or op.graph is graph:  # not the body of a function
            state.differentiated.begin(compat.last_id(graph), op)

    call = inspect.signature(build).bind(*args, **kwargs)
    if gated:
        call.arguments["gate_gradients"] = True
    with compat.observed_gradients(begin):
        return build(*call.args, **call.kwargs)


def _noted(graph: Any, state: GraphState, ys: List[Any], variables: Sequence[Any],
           gradients: List[Any]) -> List[Any]:
    """Note the gradients that belong to variables; pass the others on."""
    name = "epl/gradients_{}".format(state.gradient_calls)
    found: List[Gradient] = []
    result = list(gradients)
    for index, (variable, raw) in enumerate(zip(variables, gradients)):
        if variable is None or raw is None:
            continue
        with compat.inserted(graph, "{}/gradient_{}".format(name, index)):
            if state.context.config.communication.sparse_as_dense:
                raw = tf.convert_to_tensor(raw)
            raw = _any_rows(raw)
            result[index] = _identity(raw)
        found.append(Gradient(variable, raw, result[index]))
    if found:
        state.gradient_calls += 1
        state.groups.append(GradientGroup(name, ys, found))
    return result


def _identity(gradient: Any) -> Any:
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.identity(gradient, "dense")
    return tf.IndexedSlices(tf.identity(gradient.values, "values"),
                            tf.identity(gradient.indices, "indices"), gradient.dense_shape)


def _any_rows(gradient: Any) -> Any:
    """`gradient`, a sparse one of no fixed number of rows: those of other clones will join."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    values, indices = [
        tf.placeholder_with_default(
            t, None if t.shape.ndims is None else [None] + compat.static_shape(t)[1:], "any_rows")
        for t in parts(gradient)]
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def _withdraw_groups_behind(state: GraphState, ys: Sequence[Any]) -> bool:
    """Forget the gradients that `ys` are computed from.

    They turn out not to be for training but part of a loss (a gradient penalty, a Hessian, a
    meta-gradient): every clone needs its own there, and the derivative is aggregated instead.
    """
    if not state.groups:
        return False
    behind = ancestors(tensor.op for tensor in _tensors(ys))
    found = [group for group in state.groups if behind.intersection(group.returned_ops)]
    for group in found:
        if group.rewritten:
            raise RuntimeError(
                "gradients of {} are asked for, which are computed from gradients that a session "
                "has run already; build all gradients before the first session.run".format(
                    ", ".join(tensor.name for tensor in _tensors(ys))))
        state.groups.remove(group)
    if not state.groups and state.plan is None:
        state.context = None
    return bool(found)


def _variables(graph: Any, xs: Sequence[Any]) -> List[Optional[Any]]:
    """For every entry of `xs` the variable that it is (or whose buffer or handle it is)."""
    known = {compat.variable_key(v): v for v in compat.global_variables(graph)}
    return [known.get(compat.variable_key(x)) for x in xs]


def _tensors(values: Sequence[Any]) -> List[Any]:
    return [part for value in values for part in parts(
        value if isinstance(value, (tf.Tensor, tf.IndexedSlices)) else tf.convert_to_tensor(value))]


def _as_list(values: Any) -> List[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
