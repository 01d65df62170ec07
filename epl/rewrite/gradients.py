# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens when a script asks for gradients: they are noted, and rewritten later.

Every way to gradients in graph mode (`tf.gradients`, `Optimizer.minimize`, Estimator, Keras) passes
through one function of TensorFlow. `capture_gradients` stands in for it. It builds the gradients of
the script's graph and returns them through an identity each. When the graph is complete, before a
session runs it, `rewriter` puts the aggregated gradients behind these identities: by then it is
known which gradients were for training, what is registered and what UPDATE_OPS hold.
"""

import contextlib
import inspect
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.environment import (
    check_replicas,
    context_of,
    intended_plan,
    open_graph,
    settle,
)
from epl.ir.graph_state import GraphState, state_of
from epl.ir.provenance import GradientCall, RowGradient
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import groups, op_traits
from epl.rewrite.groups import Gradient, GradientGroup, Groups, groups_of, parts
from epl.rewrite.walk import ancestors


class _Thread(threading.local):
    """Whether this thread builds gradients: gradient functions may ask for gradients themselves."""

    building = False


_THREAD = _Thread()


class _Request(NamedTuple):
    """One call for gradients.

    Attributes:
      build: TensorFlow's function.
      call: its arguments.
      variables: for every entry of `xs` the variable that it is, or None.
      losses: the tensors whose gradients come out in the end. The chain rule by hand (gradients of
        what lies before a tensor, multiplied with those by it) has the same as its first call.
      through: those of `ys` that are no losses.
    """

    build: Callable[..., List[Any]]
    call: inspect.BoundArguments
    variables: Sequence[Any]
    losses: List[Any]
    through: List[Any]

    def answer(self) -> List[Any]:
        """The gradients as TensorFlow builds them."""
        return self.build(*self.call.args, **self.call.kwargs)


def capture_gradients(build: Callable[..., List[Any]], *args: Any, **kwargs: Any) -> List[Any]:
    """Gradients of tensors with respect to others; those of variables will be aggregated.

    A gradient function that asks for gradients itself (of `tf.custom_gradient`, of activations that
    are computed again) gets them as they are: what the outermost call gives is aggregated, once.

    Args:
      build: TensorFlow's own function.
      *args, **kwargs: its arguments: `ys` to differentiate, by `xs`, `grad_ys` and so on.

    Returns:
      As `build`: one gradient (dense, sparse or None) per entry of `xs`.

    Raises:
      ConfigError: rows that the script divides for another number of replicas.
      RuntimeError: several workers or devices, but no strategy is set; gradients inside control
        flow; gradients of gradients that a session has trained with already.
    """
    graph = tf.get_default_graph()
    if _THREAD.building or not compat.is_top_level(graph):
        return build(*args, **kwargs)
    call = inspect.signature(build).bind(*args, **kwargs)
    _THREAD.building = True
    try:
        return _outermost(graph, build, call)
    finally:
        _THREAD.building = False


def is_building() -> bool:
    """True while this thread builds gradients: what is asked for now is part of others."""
    return _THREAD.building


def of_variables(graph: Any, xs: Any) -> bool:
    """True if there are variables among `xs`, a tensor or several."""
    return any(variable is not None for variable in _variables(graph, _as_list(xs)))


def _outermost(graph: Any, build: Callable[..., List[Any]],
               call: inspect.BoundArguments) -> List[Any]:
    state = state_of(graph)
    call.arguments["ys"] = _as_list(call.arguments["ys"])
    xs = call.arguments["xs"] = _as_list(call.arguments["xs"])
    of_gradients = _own_gradients_behind(graph, state, call)
    request = _Request(build, call, _variables(graph, xs), *_losses(state, call))
    if not any(v is not None for v in request.variables):
        return _intermediate(graph, state, request)
    open_graph(graph)
    plan, cluster = intended_plan(graph), context_of(graph).cluster
    alone = cluster.total_gpu_num == 1 and (plan is None or plan.is_single_device)
    asked = context_of(graph).config.asked_of_one_device()
    if alone and state.context is None and not asked:
        return request.answer()
    if compat.control_flow_context(graph) is not None:
        if of_gradients:  # tf.hessians and the like: derivatives of gradients, in a loop
            return request.answer()
        raise RuntimeError("gradients of variables are asked for inside tf.cond or tf.while_loop, "
                           "where a worker may skip them; build the training step outside. If a "
                           "loss is computed by them, as by the inner step of MAML in a "
                           "tf.map_fn, train with one worker, device and micro-batch")
    if plan is None and alone:
        raise RuntimeError(
            "the configuration sets {}, but no strategy is set, so that EPL would change nothing; "
            "call epl.set_default_strategy(epl.replicate(device_count=1)) before the model is "
            "built".format(", ".join(asked)))
    if plan is None:
        raise RuntimeError(
            "gradients are asked for on {} worker(s) with {} device(s) each, but no strategy is "
            "set: the script would train on one device of each worker, without the others; call "
            "epl.set_default_strategy(epl.replicate(device_count=1)) before the model is built"
            .format(cluster.worker_num, cluster.gpu_num_per_worker))
    check_replicas(graph, plan)
    settle(graph)
    return _for_training(graph, state, request, plan)


def _for_training(graph: Any, state: GraphState, request: _Request,
                  plan: ParallelPlan) -> List[Any]:
    """Gradients of variables: they will be aggregated."""
    state.provenance.begin_gradients(graph)
    with _captured_call(graph, state, request) as results:
        if plan.is_single_device and plan.num_workers == 1 and not _recomputes(graph):
            gradients = request.answer()
        else:
            gated = not plan.is_single_device \
                and plan.clones_per_worker(context_of(graph).cluster.worker_index) == 1
            gradients = _build_in_place(state, graph, request, gated)
        results.extend(_of_rows(state, request, gradients))
        return _captured(graph, state, request, gradients)


def _intermediate(graph: Any, state: GraphState, request: _Request) -> List[Any]:
    """Gradients of other tensors: they are every clone's own, and may lead on to variables'."""
    context = context_of(graph)
    config, cluster = context.config, context.cluster
    one_clone = cluster.gpu_num_per_worker == 1 and config.pipeline.num_micro_batch == 1 \
        and not _recomputes(graph)
    if one_clone and cluster.worker_num == 1 or compat.control_flow_context(graph) is not None:
        return request.answer()
    with _captured_call(graph, state, request) as results:
        gradients = _build_in_place(state, graph, request, gated=False)
        results.extend(_of_rows(state, request, gradients))
        return gradients


@contextlib.contextmanager
def _captured_call(graph: Any, state: GraphState, request: _Request) -> Iterator[List[RowGradient]]:
    """What is created meanwhile are gradients of the request's losses.

    The block puts those of tensors that are no variables into the list that it gets.
    """
    first = compat.last_id(graph) + 1
    results: List[RowGradient] = []
    yield results
    entered = [v for v in _as_list(request.call.arguments.get("grad_ys")) if v is not None]
    state.provenance.calls.add(GradientCall(first, compat.last_id(graph), request.losses, results,
                                 _tensors(entered)))


def _build_in_place(state: GraphState, graph: Any, request: _Request, gated: bool) -> List[Any]:
    """Build gradients of which is known what they are the gradients of.

    An update of a ref variable must not overtake the last reader of its old value. With several
    clones it waits for the last action of the step; with one gradients have to wait for their
    siblings (`gated`).
    """
    def begin(op: Any) -> None:
        if op is None or op.graph is graph:  # not the body of a function
            state.provenance.begin_gradient_of(graph, op)

    if gated:
        request.call.arguments["gate_gradients"] = True
    with compat.observed_gradients(begin):
        return request.answer()


def _recomputes(graph: Any) -> bool:
    """True if the backward pass will compute activations again."""
    return bool(context_of(graph).config.gradient_checkpoint.type)


def _losses(state: GraphState, call: inspect.BoundArguments) -> List[List[Any]]:
    """[the losses of a call, those of its `ys` that are no losses].

    What `grad_ys` holds may be the gradients of earlier calls. Then this call goes on with these.
    """
    ys = call.arguments["ys"]
    given = call.arguments.get("grad_ys")
    losses: List[Any] = []
    through: List[Any] = []
    for y, grad_y in zip(ys, _as_list(given) if given is not None else [None] * len(ys)):
        behind = [] if grad_y is None else _losses_behind(state, _tensors([grad_y]))
        losses.extend(behind or _tensors([y]))
        through.extend(_tensors([y]) if behind else [])
    return [_unique(losses), _unique(through)]


def _losses_behind(state: GraphState, tensors: Sequence[Any]) -> List[Any]:
    """The losses whose gradients `tensors` are computed from."""
    built = ancestors((t.op for t in tensors), _BuiltForGradients(state))
    calls = [state.provenance.calls.call_of(op) for op in sorted(built, key=compat.op_id)]
    return _unique(loss for call in calls if call is not None for loss in call.losses)


class _BuiltForGradients:
    """The operations that TensorFlow built for gradients, as a container."""

    def __init__(self, state: GraphState):
        self._state = state

    def __contains__(self, op: Any) -> bool:
        return self._state.provenance.is_gradient(op)


def _captured(graph: Any, state: GraphState, request: _Request, gradients: List[Any]) -> List[Any]:
    """Note the gradients that belong to variables; pass the others on."""
    name = "epl/gradients_{}".format(state.record(Groups).calls)
    found: List[Gradient] = []
    result = list(gradients)
    for index, (variable, raw) in enumerate(zip(request.variables, gradients)):
        if variable is None or raw is None:
            continue
        with compat.inserted(graph, "{}/gradient_{}".format(name, index)):
            if context_of(graph).config.communication.sparse_as_dense:
                raw = tf.convert_to_tensor(raw)
            raw = _any_rows(raw)
            result[index] = _identity(raw)
        found.append(Gradient(variable, raw, result[index]))
    if found:
        groups.add(state, GradientGroup(name, request.losses, found, request.through))
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


def _own_gradients_behind(graph: Any, state: GraphState, call: inspect.BoundArguments) -> bool:
    """Give what is differentiated the gradients of its clone, where it is computed from gradients.

    Gradients of variables that turn out to be part of a loss (a gradient penalty, a Hessian, a
    meta-gradient) or of `grad_ys` are each clone's own there, and the derivative is aggregated
    instead. Elsewhere they are aggregated: a script may train by them as well.

    Returns:
      True if there are some.
    """
    arguments = [name for name in ("ys", "grad_ys") if call.arguments.get(name) is not None]
    given = [v for name in arguments for v in _as_list(call.arguments[name]) if v is not None]
    behind = ancestors(tensor.op for tensor in _tensors(given))
    first = compat.last_id(graph) + 1
    own: Dict[str, Any] = {}
    losses: List[Any] = []
    for group in list(groups_of(state)):
        if behind.intersection(group.returned_ops):
            _check_not_run(group, given)
            losses.extend(group.ys)
            own.update(_own_gradients(graph, group, behind))
            if not group.is_used:
                groups.withdraw(state, group)
    if own:
        state.record(Groups).own.extend(t for t in own.values() if t.dtype.is_floating)
        state.provenance.calls.add(
            GradientCall(first, compat.last_id(graph), _unique(losses), [], []))
        for name in arguments:
            call.arguments[name] = [_with_own(v, own) for v in _as_list(call.arguments[name])]
    if not groups_of(state) and state.plan is None:
        state.context = None
    return bool(behind.intersection(t.op for t in state.record(Groups).own)) or bool(own)


def _check_not_run(group: GradientGroup, given: Sequence[Any]) -> None:
    if group.rewritten:
        raise RuntimeError(
            "gradients of {} are asked for, which are computed from gradients that a session "
            "has run already; build all gradients before the first session.run".format(
                ", ".join(tensor.name for tensor in _tensors(given))))


def _own_gradients(graph: Any, group: GradientGroup, behind: Any) -> Dict[str, Any]:
    """Make the operations in `behind` read the gradients of their clone.

    Returns:
      name of a gradient that the script got -> what is the clone's own.
    """
    found: Dict[str, Any] = {}
    for gradient in group.gradients:
        for raw, returned in zip(parts(gradient.raw), parts(gradient.returned)):
            if returned.op in behind:
                with compat.inserted(graph, group.name + "/own"):
                    own = found[returned.name] = tf.identity(raw, returned.op.name.split("/")[-2])
                for user in behind.intersection(returned.consumers()):
                    editor.replace_input(user, returned, own)
    return found


def _with_own(value: Any, own: Dict[str, Any]) -> Any:
    if isinstance(value, tf.IndexedSlices):
        return tf.IndexedSlices(_with_own(value.values, own), _with_own(value.indices, own),
                                value.dense_shape)
    return own.get(value.name, value) if isinstance(value, tf.Tensor) else value


def _variables(graph: Any, xs: Sequence[Any]) -> List[Optional[Any]]:
    """For every entry of `xs` the variable that it is (or whose buffer or handle it is)."""
    known = {compat.variable_key(v): v for v in compat.global_variables(graph)}
    return [known.get(compat.variable_key(x)) for x in xs]


def _tensors(values: Sequence[Any]) -> List[Any]:
    return [part for value in values for part in parts(
        value if isinstance(value, (tf.Tensor, tf.IndexedSlices)) else tf.convert_to_tensor(value))]


def _of_rows(state: GraphState, request: _Request,
             gradients: Sequence[Any]) -> List[RowGradient]:
    """The gradients by tensors with rows of the batch.

    Gradients by other tensors are to all clones what those of variables are.
    """
    found: List[RowGradient] = []
    for x, variable, gradient in zip(request.call.arguments["xs"], request.variables, gradients):
        if variable is None and gradient is not None:
            x, value = _tensors([x])[0], parts(gradient)[0]
            if any(map(op_traits.brings_data, ancestors([x.op]))):
                found.append(RowGradient(x, value))
            else:
                state.record(Groups).own.append(value)
    return found


def _as_list(values: Any) -> List[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _unique(tensors: Iterable[Any]) -> List[Any]:
    """Each of `tensors` once, in their order."""
    return list({tensor.name: tensor for tensor in tensors}.values())
