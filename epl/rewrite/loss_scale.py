# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loss is scaled, so that 16-bit gradients do not underflow (amp.loss_scale).

    loss --> x scale --> gradients --> aggregated --> / scale --> the script: clipping, update
                                           |
                             all finite? --+--> the scale grows or shrinks
                                           +--> tf.cond: update, or skip the step

Gradients are asked for of the scaled loss, and given to the script unscaled: a power of two changes
no bit. They are looked at when they are those of the whole batch, so that all parts and workers
skip the same steps. The scale is TensorFlow's `DynamicLossScale`, two variables of the model: it is
saved with it. What an optimizer does in `apply_gradients` it does in a branch, the global step
included; what a script does beside it, as in plain TensorFlow, it does in every step.

References: Micikevicius et al. 2018 (https://arxiv.org/abs/1710.03740).
"""

import inspect
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union

import tensorflow.compat.v1 as tf

from epl import compat
from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.ir.graph_state import GraphState, state_of
from epl.rewrite import gradients, op_traits
from epl.rewrite.groups import parts
from epl.rewrite.walk import ancestors, descendants

_SCOPE = "epl/loss_scale"


class _Call:
    """One call for gradients of variables, under a scale that adapts.

    Attributes:
      scale: a `DynamicLossScale`.
      results: the unscaled gradients, tensors.
    """

    def __init__(self, scale: Any, results: List[Any]):
        self.scale, self.results = scale, results
        self._outcome: Optional[Tuple[Any, Any]] = None

    def outcome(self) -> Tuple[Any, Any]:
        """(operation that adapts the scale, whether the step is taken), built once.

        Two optimizers that share a call for gradients take a step together, or skip it together.
        """
        if self._outcome is None:
            graph = self.results[0].graph
            with compat.inserted(graph, _SCOPE):
                self._outcome = self.scale.update(self.results)
        return self._outcome


class LossScales:
    """The adapting scales of one graph.

    Attributes:
      calls: the calls for gradients.
      branches: names of the v1 branches that updates are built in.
      applying: an optimizer is building its update, in the branch.
      losses: name of a scaled loss -> (the loss, what the scaled one is multiplied by for it).
    """

    def __init__(self) -> None:
        self.calls: List[_Call] = []
        self.branches: Set[str] = set()
        self.applying = False
        self.losses: Dict[str, Tuple[Any, Any]] = {}

    def unscaled(self, scaled: Any, value: Any) -> Optional[Tuple[Any, Any]]:
        """(a loss, its value) if `value` is that of the scaled loss `scaled`."""
        if scaled.name not in self.losses:
            return None
        loss, undo = self.losses[scaled.name]
        return loss, tf.cast(_times(value, undo), loss.dtype)


def scaled_gradients(ask: Callable[..., List[Any]], signature: inspect.Signature,
                     *args: Any, **kwargs: Any) -> List[Any]:
    """What `ask(*args, **kwargs)` gives, through a scaled loss if the configuration says so.

    Args:
      ask: gives gradients of `ys` by `xs`.
      signature: of these arguments.
    """
    graph = tf.get_default_graph()
    if gradients.is_building() or not compat.is_top_level(graph) \
            or compat.control_flow_context(graph) is not None:
        return ask(*args, **kwargs)
    wanted = _wanted(graph)  # of a script's graph: the body of a function has no configuration
    if wanted == 1.0:
        return ask(*args, **kwargs)
    call = signature.bind(*args, **kwargs)
    if not gradients.of_variables(graph, call.arguments["xs"]):
        return ask(*args, **kwargs)
    scale, number = None, wanted  # type: Any, Any
    if wanted == "dynamic":
        with compat.inserted(graph, _SCOPE):
            scale = compat.DynamicLossScale()
            number = scale()
    losses = [tf.convert_to_tensor(y) for y in tf.nest.flatten(call.arguments["ys"])]
    call.arguments["ys"] = [_scaled(loss, number) for loss in losses]
    found, undo = ask(*call.args, **call.kwargs), 1.0 / number
    state_of(graph).record(LossScales).losses.update(
        (scaled.name, (loss, undo)) for scaled, loss in zip(call.arguments["ys"], losses))
    found = [None if gradient is None else _times(gradient, undo) for gradient in found]
    results = [part for gradient in found if gradient is not None for part in parts(gradient)]
    results = [tensor for tensor in results if tensor.dtype.is_floating]
    if scale is not None and results:
        state_of(graph).record(LossScales).calls.append(_Call(scale, results))
    return found


def apply_gradients(original: Callable[..., Any], optimizer: Any, grads_and_vars: Any,
                    *args: Any, **kwargs: Any) -> Any:
    """`Optimizer.apply_gradients`: in a branch that is taken if all gradients are finite."""
    grads_and_vars = list(grads_and_vars)
    scales = None if tf.executing_eagerly() else state_of(tf.get_default_graph()).find(LossScales)
    calls = [] if scales is None or scales.applying else _behind(scales, grads_and_vars)
    if scales is None or not calls:
        return original(optimizer, grads_and_vars, *args, **kwargs)
    outcomes = [call.outcome() for call in calls]
    finite = outcomes[0][1] if len(outcomes) == 1 else tf.reduce_all(
        tf.stack([finite for _, finite in outcomes]))
    train_ops = tf.get_collection_ref(tf.GraphKeys.TRAIN_OP)
    known = len(train_ops)

    def update() -> Any:
        scales.branches.add(compat.control_flow_context(tf.get_default_graph()).name)
        with tf.name_scope(None):
            return tf.group(original(optimizer, grads_and_vars, *args, **kwargs))

    scales.applying = True
    try:
        with compat.control_flow_v1():  # functions cannot write ref variables
            updated = tf.cond(finite, update, tf.no_op)
    finally:
        scales.applying = False
    with tf.control_dependencies(None):
        step = tf.group(updated, *[adapt for adapt, _ in outcomes], name="update_if_finite")
    if train_ops[known:]:
        train_ops[known:] = [step]  # what it put there stands in the branch
    return step


def check_applied(graph: Any, state: GraphState) -> None:
    """Raises ConfigError for an update of a trained variable that no step would skip."""
    scales = state.record(LossScales)
    trained = {compat.variable_key(v) for v in compat.global_variables(graph) if v.trainable}
    for call in scales.calls:
        behind = descendants(tensor.op for tensor in call.results)
        for op in sorted(behind, key=compat.op_id):
            if op_traits.written_variable(op) in trained and not _is_guarded(op, scales):
                raise ConfigError(
                    "amp.loss_scale = 'dynamic' skips steps of gradients that are not finite, but "
                    "'{}' ({}){} updates a variable outside of the apply_gradients of a "
                    "tf.train.Optimizer, and would take them: use one, or set amp.loss_scale to a "
                    "number, with which every step is taken".format(
                        op.name, op.type, compat.made_at(op)))


def _wanted(graph: Any) -> Union[str, float]:
    """'dynamic', or the number that the loss is multiplied by."""
    amp = context_of(graph).config.amp
    if not amp.level or (amp.loss_scale == "dynamic" and amp.dtype == "bfloat16"):
        return 1.0  # bfloat16 has the range of float32
    wanted: Union[str, float] = amp.loss_scale
    return wanted


def _scaled(loss: Any, number: Any) -> Any:
    if not loss.dtype.is_floating:
        return loss
    if loss.dtype in (tf.float16, tf.bfloat16):
        loss = tf.cast(loss, tf.float32)
    return loss * tf.cast(number, loss.dtype)


def _times(gradient: Any, number: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_times(gradient.values, number), gradient.indices,
                                gradient.dense_shape)
    if not gradient.dtype.is_floating:
        return gradient
    return gradient * tf.cast(number, gradient.dtype)


def _behind(scales: LossScales, grads_and_vars: List[Any]) -> List[_Call]:
    """The calls for gradients that an update follows from."""
    given = [part for gradient, _ in grads_and_vars if gradient is not None
             for part in parts(gradient)]
    behind = ancestors(tensor.op for tensor in given)
    return [call for call in scales.calls if any(t.op in behind for t in call.results)]


def _is_guarded(op: Any, scales: LossScales) -> bool:
    context = compat.control_flow_context(op)
    while context is not None and context.name not in scales.branches:
        context = context.outer_context
    return context is not None
