# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `losses`: are the gradients of the whole batch those of its parts, put together?"""

from typing import Any, Dict, Iterable, List, Optional

from epl import compat
from epl.ir.graph_state import GraphState
from epl.ir.provenance import GradientCall
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import op_traits
from epl.rewrite.groups import GradientGroup, Groups, parts
from epl.rewrite.linear import departure, departure_in_degree, is_sum_over_rows
from epl.rewrite.walk import ancestors

_UNTOUCHED = float("-inf")  # no degree


def check_losses(family: List[GradientGroup], state: GraphState, plan: ParallelPlan) -> None:
    """Check gradients of one loss that several clones or workers compute.

    Raises:
      ValueError: the loss has a value for every row, or its gradients by rows, which are multiplied
        with others, are those of a sum; but gradients are averaged.
      NotImplementedError: the loss, or what gradients are multiplied with, is computed from
        gradients, and not linearly.
    """
    ys = family[0].ys
    if plan.reduce_method == "mean":
        _check_not_per_row([y for y in ys if not state.provenance.is_gradient(y.op)])
    behind = ancestors(t.op for group in family for t in group.ys + [
        part for gradient in group.gradients for part in parts(gradient.raw)])
    calls = [call for call in state.provenance.calls
             if any(t.op in behind for t in [g for _, g in call.results] + call.entered)]
    check = _Linearity(state, ys, [t for call in calls for t in call.losses],
                       [t for call in calls for t in call.entered])
    check.of_variables(state.record(Groups).own)
    if plan.reduce_method == "mean":
        averaged = averaged_gradients(calls)
        of_rows = gradients_of_rows(calls)
        check.of_sums([gradient for call in calls for _, gradient in call.results
                       if gradient.name in of_rows])
        check.of_means(averaged)


def averaged_gradients(calls: Iterable[GradientCall]) -> List[Any]:
    """The gradients by rows of what is no sum over rows: each is one of a part's mean, say."""
    return [gradient for call in calls for x, gradient in call.results
            if not all(is_sum_over_rows(loss, x) for loss in call.losses)]


def gradients_of_rows(calls: Iterable[GradientCall]) -> Dict[str, Any]:
    """All others: each row's is its own, however many rows there are.

    Returns:
      name of a gradient -> the tensor with rows by which it is.
    """
    calls = list(calls)
    averaged = {gradient.name for gradient in averaged_gradients(calls)}
    return {gradient.name: x for call in calls for x, gradient in call.results
            if gradient.name not in averaged}


def _check_not_per_row(ys: List[Any]) -> None:
    rows = {dimension for op in ancestors(y.op for y in ys) if op_traits.brings_data(op)
            for tensor in op.outputs for dimension in _first_dimension(tensor)}
    for y in ys:
        first = _first_dimension(y)
        if first and first[0] != 1 and first[0] in rows.union([None]):
            raise ValueError(
                "{} of shape {} is differentiated, which means its sum over the rows; but "
                "gradients are averaged over micro-batches, replicas and workers: "
                "differentiate tf.reduce_mean of it (times grad_ys, where these are given and "
                "are no gradients of a mean), or set "
                "communication.gradients_reduce_method = 'sum'".format(y.name, y.shape))


def _first_dimension(tensor: Any) -> List[Optional[int]]:
    return compat.static_shape(tensor)[:1] if tensor.shape.ndims is not None else []


class _Linearity:
    """Checks what is computed from gradients, and differentiated or multiplied with others."""

    def __init__(self, state: GraphState, ys: List[Any], inner: List[Any], entered: List[Any]):
        """Prepare.

        Args:
          state: the graph's state.
          ys: the losses.
          inner: losses of gradients that the losses or their gradients are computed from.
          entered: what was given as `grad_ys` on the way.
        """
        self._losses, self._entered = ys + inner, entered
        self._names, self._inner = _names(ys), _names(inner)
        self._is_gradient = state.provenance.is_gradient

    def of_variables(self, own: List[Any]) -> None:
        """Each clone has the gradients of its own rows."""
        op = departure(own, self._losses + self._entered, self._is_gradient)
        if op is not None:
            raise NotImplementedError(
                "{} is differentiated, and operation '{}' ({}), which it or its gradient is "
                "computed by, is not linear in gradients of variables. Every micro-batch, replica "
                "and worker has the gradients of its own rows there; those of the whole batch give "
                "another value. Train such a loss with one worker, one device and one "
                "micro-batch".format(self._names, op.name, op.type))

    def of_sums(self, results: List[Any]) -> None:
        """What they lead to is a sum over the rows of all clones."""
        op = departure_in_degree(results, self._entered, self._is_gradient, right=_UNTOUCHED)
        if op is not None:
            raise ValueError(
                "operation '{}' ({}) brings gradients of {}, a sum over the rows, into grad_ys; "
                "but gradients are averaged over micro-batches, replicas and workers: "
                "differentiate a mean over the rows, or set "
                "communication.gradients_reduce_method = 'sum'".format(
                    op.name, op.type, self._inner))

    def of_means(self, results: List[Any]) -> None:
        """Each row's gradient is larger by the number of clones than in the mean of all rows."""
        for ends, right in ((self._entered, 1.0), (self._losses, 0.0)):
            op = departure_in_degree(results, ends, self._is_gradient, right)
            if op is not None:
                raise NotImplementedError(
                    "operation '{}' ({}), which works on gradients of {}, has another value than "
                    "for the whole batch: they are those of the mean over the rows of one "
                    "micro-batch, which are larger than those of the mean over all rows. "
                    "Differentiate the values of the rows instead of their mean, or make the loss "
                    "a sum over rows and set communication.gradients_reduce_method = 'sum'".format(
                        op.name, op.type, self._inner))


def _names(tensors: List[Any]) -> str:
    return ", ".join(sorted({tensor.name for tensor in tensors}))
