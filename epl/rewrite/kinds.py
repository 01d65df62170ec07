# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an operation is to the rewrite: does it hold state, bring data in, draw, write a variable?

Told from an operation's definition (its state, the types of what it takes and gives), not from
names.
"""

from typing import Any, Dict, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.rewrite.walk import ancestors

_VARIABLES = frozenset(["Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"])
PLACEHOLDERS = frozenset(["Placeholder", "PlaceholderV2"])

# State that lives for one step only: every clone needs its own.
STEP_SCOPED = frozenset(["Stack", "StackV2", "TensorArray", "TensorArrayV2", "TensorArrayV3",
                         "TemporaryVariable"])

# Stateful to TensorFlow, but neither bringing anything in nor drawing.
_WITHOUT_STATE = frozenset(["Assert", "Print", "PrintV2", "LookupTableFind", "LookupTableFindV2",
                            "LookupTableSize", "LookupTableSizeV2"])

# What only looks at a variable that it gets by reference or by handle.
_READERS = frozenset(["IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp",
                      "ResourceGather", "ResourceGatherNd", "VariableShape"])

# What hands a reference or a handle on.
_PASS_ON = frozenset(["RefEnter", "RefExit", "RefIdentity", "RefMerge", "RefNextIteration",
                      "RefSelect", "RefSwitch", "Enter", "Exit", "Identity", "IdentityN", "Merge",
                      "NextIteration", "Switch"])


def is_handle(tensor: Any) -> bool:
    """True for a tensor that refers to state instead of holding a value."""
    return compat.is_ref(tensor) or tensor.dtype == tf.resource


def handle_origin(tensor: Any) -> Any:
    """The operation that owns the state which `tensor`, a reference or a handle, refers to."""
    op = tensor.op
    while True:
        behind = next((t for t in op.inputs if is_handle(t)), None)
        if behind is None:
            return op
        op = behind.op


def owns_state(op: Any) -> bool:
    """True for a variable, table, queue, iterator: state that outlives a step."""
    return (op.type not in STEP_SCOPED and any(is_handle(t) for t in op.outputs)
            and not any(is_handle(t) for t in op.inputs))


def is_variable(op: Any) -> bool:
    """True for the operation that owns a variable's state."""
    return op.type in _VARIABLES


def calls_functions(op: Any) -> bool:
    """True if a function of the graph's library is an attribute of `op`."""
    return bool(compat.function_names(op.node_def))


class _Traits(NamedTuple):
    """What an operation's definition says."""

    stateful: bool
    random: bool
    takes_reference: bool


_TRAITS: Dict[str, _Traits] = {}


def _traits(op: Any) -> _Traits:
    found = _TRAITS.get(op.type)
    if found is None:
        definition = op.op_def
        if definition is None:
            return _Traits(False, False, False)
        attributes = {attr.name for attr in definition.attr}
        found = _TRAITS[op.type] = _Traits(
            definition.is_stateful,
            definition.is_stateful and {"seed", "seed2"} <= attributes and not any(
                arg.is_ref or arg.type == tf.resource.as_datatype_enum
                for arg in definition.output_arg),
            any(arg.is_ref for arg in definition.input_arg))
    return found


def takes_state(op: Any) -> bool:
    """True if `op` gets a variable by reference or by handle, and may do more than hand it on."""
    if op.type in _PASS_ON or op.type in _READERS:
        return False
    return _traits(op).takes_reference or any(t.dtype == tf.resource for t in op.inputs)


def written_variable(op: Any) -> Optional[Any]:
    """The operation that owns the variable which `op` writes; None if it writes none.

    Function calls that take a variable's handle are looked into by `functions.Library`, not here.
    """
    if not takes_state(op) or calls_functions(op):
        return None
    for tensor in op.inputs:
        if is_handle(tensor):
            origin = handle_origin(tensor)
            if is_variable(origin):
                return origin
    return None


def seeds(node_def: Any, op_def: Any) -> Optional[Tuple[int, int]]:
    """(seed, seed2) of a random operation, None for any other."""
    names = {attr.name for attr in op_def.attr} if op_def is not None else node_def.attr
    if "seed" not in names or "seed2" not in names:
        return None
    return node_def.attr["seed"].i, node_def.attr["seed2"].i


def is_random(op: Any) -> bool:
    """True for an operation that draws anew whenever it runs."""
    return _traits(op).random


def is_fed_per_batch(op: Any) -> bool:
    """True for a placeholder that is fed rows of the global batch.

    A placeholder that is a scalar or has a fixed first dimension is shared by all clones.

    Raises:
      ValueError: the placeholder's rank is unknown.
    """
    if op.type not in PLACEHOLDERS and op.type != "PlaceholderWithDefault":
        return False
    shape = op.outputs[0].shape
    if shape.ndims is None and op.type not in PLACEHOLDERS:
        return False
    if shape.ndims is None:
        raise ValueError(
            "placeholder '{}' has no shape, so EPL cannot tell whether it holds rows of the batch: "
            "give it shape=[None, ...] (divided between micro-batches and replicas), or a fixed "
            "first dimension or shape=[] (the same for all)".format(op.name))
    return shape.ndims > 0 and compat.static_shape(op.outputs[0])[0] is None


def starts_batch(op: Any) -> bool:
    """True if every clone needs an `op` of its own even where nothing before it differs."""
    if op.type in STEP_SCOPED or is_fed_per_batch(op):
        return True
    if not _traits(op).stateful:
        return False
    return not (owns_state(op) or op.type in _READERS or op.type in _WITHOUT_STATE
                or written_variable(op) is not None)


def same_rows(gradient: Any) -> bool:
    """True if it is a sparse gradient that has the same rows in every clone and on every worker.

    Those of a table of positions, say, that is looked up for all of them. Such a gradient is added
    up row by row: on one device it would have each row once, which its norm depends on.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return False
    op = gradient.indices.op
    if op.type == "PlaceholderWithDefault":  # see `gradients`
        op = op.inputs[0].op
    return not any(starts_batch(behind) for behind in ancestors([op]))


def data_origin(op: Any) -> Optional[Any]:
    """The iterator, queue or reader that `op` takes data from; None if it takes from none."""
    if not op.outputs or not brings_data(op):
        return None
    origins = [handle_origin(t) for t in op.inputs if is_handle(t)]
    return next((o for o in origins if not is_variable(o) and o.type not in STEP_SCOPED), None)


def brings_data(op: Any) -> bool:
    """True if `op` reads from outside of the graph: it is fed, or takes from a dataset or queue."""
    if op.type in PLACEHOLDERS:
        return True
    return (op.type not in STEP_SCOPED and op.type != "PlaceholderWithDefault"
            and not is_random(op) and starts_batch(op))
