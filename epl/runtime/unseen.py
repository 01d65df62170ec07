# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Updates that EPL cannot aggregate: by gradients that it has never seen, or outside of a step.

`tf.gradients` is where EPL learns of gradients. A graph that was imported
(`tf.train.import_meta_graph`) brings its gradients along, a `tf.GradientTape` builds its own, and a
script may work them out by hand. Several workers would each go their own way then. What a script
writes from rows outside of a training step (statistics of its data) becomes the chief's.
"""

from typing import Any, Iterable, Optional

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir.environment import context_of
from epl.rewrite import op_traits
from epl.rewrite.walk import ancestors, data_ancestors

# They write whatever they are given; all other writes start from the variable's value.
_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])


def check(graph: Any, reached: Iterable[Any]) -> None:
    """Look at a session run in which EPL aggregates nothing.

    Args:
      graph: the graph.
      reached: the operations that the run executes.

    Raises:
      RuntimeError: on several workers, it trains by gradients that EPL does not know.
    """
    update = _update_from_data(graph, reached)
    if update is None:
        return
    told = ("operation '{}' ({}) updates a trainable variable by a gradient that EPL has not seen: "
            "its graph was imported, or tf.gradients did not build it. ".format(
                update.name, update.type))
    workers = context_of(graph).cluster.worker_num
    if workers > 1:
        raise RuntimeError(told + "Each of the {} workers would train on its own rows alone; build "
                           "the model and its optimizer in this graph, after epl.init()".format(
                               workers))
    tf.logging.warning(told + "The step runs on one device with all its rows; build the model and "
                       "its optimizer in this graph, after epl.init(), to have it divided")


def warn_of_own_rows(graph: Any, reached: Iterable[Any]) -> None:
    """Say which global variables a run that is no step writes from this worker's rows."""
    variables = {compat.variable_key(variable) for variable in compat.global_variables(graph)}
    for op in sorted(reached, key=compat.op_id):
        variable = op_traits.written_variable(op)
        if variable is not None and variable in variables and _computes_from_rows(op):
            tf.logging.warning(
                "operation '{}'{} writes the global variable '{}' from rows of this worker, in a "
                "run that is no training step: before the next step the chief's value replaces "
                "those of the other workers, whatever their rows were. Compute it from all rows "
                "on the chief (or on every worker), or keep it in a variable of "
                "tf.GraphKeys.LOCAL_VARIABLES".format(
                    op.name, compat.made_at(op), variable.name))


def _computes_from_rows(op: Any) -> bool:
    """True for a write of something else than what was fed or restored as it is."""
    if op_traits.loaded(op) is not None:
        return False
    return any(op_traits.data_origin(behind) is not None or (
        behind.type in op_traits.PLACEHOLDERS and op_traits.is_fed_per_batch(behind))
        for behind in data_ancestors(t.op for t in op.inputs if not op_traits.is_handle(t)))


def _update_from_data(graph: Any, reached: Iterable[Any]) -> Optional[Any]:
    """An operation that changes a trainable variable by what comes from fed or read rows.

    What is loaded into one (restored, or assigned from an array) is no change of its value.
    """
    trainable = {compat.variable_key(variable)
                 for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)}
    writes = [op for op in reached if op_traits.written_variable(op) in trainable]
    for op in sorted(writes, key=lambda op: op.name):
        # Also control edges: a sparse Adam reads its slots after it has written to them.
        behind = ancestors(tensor.op for tensor in op.inputs if not op_traits.is_handle(tensor))
        changes = op.type not in _ASSIGNMENTS or op_traits.written_variable(op) in behind
        if changes and any(map(_brings_rows, behind)):
            return op
    return None


def _brings_rows(op: Any) -> bool:
    if op.type in op_traits.PLACEHOLDERS and op.outputs[0].shape.ndims is None:
        return False  # a value of its own, or a gradient that was aggregated and is fed
    if op.type in op_traits.PLACEHOLDERS:
        return op_traits.is_fed_per_batch(op)
    return op_traits.brings_data(op)
