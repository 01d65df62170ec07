# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What an operation is to the rewrite: does it hold state, bring data in, draw, write a variable?

Told from an operation's definition (its state, the types of what it takes and gives), not from
names.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import feeds
from epl.ir.feeds import PLACEHOLDERS
from epl.ir.graph_state import state_of
from epl.rewrite.walk import ancestors

_VARIABLES = frozenset(["Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"])
_DEFAULTS = "PlaceholderWithDefault"

# State that lives for one step only: every clone needs its own.
STEP_SCOPED = frozenset(["Stack", "StackV2", "TensorArray", "TensorArrayV2", "TensorArrayV3",
                         "TemporaryVariable"])

_SWITCHES = frozenset(["Switch", "RefSwitch"])

# What gives the form of its inputs, and needs none of their elements.
SHAPES = frozenset(["Rank", "Shape", "ShapeN", "Size"])

# Stateful to TensorFlow, but neither bringing anything in nor drawing.
_WITHOUT_STATE = frozenset(["Assert", "CheckNumerics", "CheckNumericsV2", "DeepCopy",
                            "IteratorToStringHandle", "Print", "PrintV2", "LookupTableFind",
                            "LookupTableFindV2", "LookupTableSize", "LookupTableSizeV2"])

# What only looks at a variable that it gets by reference or by handle.
_READERS = frozenset(["IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp",
                      "ResourceGather", "ResourceGatherNd", "VariableShape"])

_SUMMARIES = frozenset(["ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary",
                        "AudioSummaryV2", "TensorSummary", "TensorSummaryV2", "MergeSummary"])

_PYTHON = frozenset(["PyFunc", "EagerPyFunc"])

_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])
_SAME_VALUE = frozenset(["Cast", "Identity", "Reshape"])

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


def is_switch(op: Any) -> bool:
    """True for an operation of v1 control flow that hands its input to one of two sides."""
    return op.type in _SWITCHES


def owns_state(op: Any) -> bool:
    """True for a variable, table, queue, iterator: state that outlives a step."""
    return (op.type not in STEP_SCOPED and any(is_handle(t) for t in op.outputs)
            and not any(is_handle(t) for t in op.inputs))


def is_variable(op: Any) -> bool:
    """True for the operation that owns a variable's state."""
    return op.type in _VARIABLES


def aliased_variable(tensor: Any) -> Optional[Any]:
    """The operation that owns the ref variable whose buffer `tensor` is; None if it is none's."""
    if tensor.op.type == "Identity" and compat.is_ref(tensor.op.inputs[0]):
        tensor = tensor.op.inputs[0]
    return handle_origin(tensor) if compat.is_ref(tensor) else None


def is_summary(op: Any) -> bool:
    """True for an operation that makes a summary."""
    return op.type in _SUMMARIES


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


def is_stateful(op: Any) -> bool:
    """True for an operation that TensorFlow does not take for a function of its inputs."""
    return op.op_def is None or _traits(op).stateful


def takes_reference(op: Any) -> bool:
    """True if an input of `op` is a reference to a variable; others take the value of one."""
    return op.op_def is not None and _traits(op).takes_reference


def takes_state(op: Any) -> bool:
    """True if `op` gets a variable by reference or by handle, and may do more than hand it on."""
    if op.type in _PASS_ON or op.type in _READERS:
        return False
    return _traits(op).takes_reference or any(t.dtype == tf.resource for t in op.inputs)


def written_variable(op: Any) -> Optional[Any]:
    """The operation that owns the variable which `op` writes; None if it writes none.

    Function calls that take a variable's handle are looked into by `functions.Library`, not here.
    """
    return next(iter(written_variables(op)), None)


def written_variables(op: Any) -> List[Any]:
    """As `written_variable`, of all that `op` may write: an optimizer's kernel also writes slots.
    """
    if not takes_state(op) or calls_functions(op):
        return []
    origins = [handle_origin(tensor) for tensor in op.inputs if is_handle(tensor)]
    return [origin for origin in origins if is_variable(origin)]


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
    """True for a placeholder that is fed rows of the batch, and what else is declared to be.

    With one clone per worker every placeholder of unknown or fixed size may hold rows, too: nothing
    is divided then (see `rewrite.fed`, which refuses these with several clones).
    """
    if op.type in PLACEHOLDERS or op.type == _DEFAULTS:
        tensor = op.outputs[0]
        unknown = op.type != _DEFAULTS and tensor.shape.ndims is None
        return feeds.axis_of_rows(tensor) is not None or (
            unknown and feeds.is_undecided(tensor))
    return bool(state_of(op.graph).declared_feeds) and not _traits(op).stateful and any(
        feeds.declared_axis(t) is not None for t in op.outputs)


def reads_variable(tensor: Any) -> bool:
    """True for a variable's value as a whole, or the variable itself."""
    op = tensor.op
    while op.type in ("Identity", "ReadVariableOp") and not is_variable(op):
        op = op.inputs[0].op
    return is_variable(op)


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
    up row by row: on one device it would have each row once, which its norm depends on. What is
    fed to find these rows is compared before every step (see `runtime.shared_feeds`).
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return False
    return not any(starts_batch(behind) or _holds_workers_rows(behind)
                   for behind in ancestors([without_any_rows(gradient.indices).op]))


def without_any_rows(tensor: Any) -> Any:
    """What a gradient's part is behind the placeholder that hides its number of rows."""
    op = tensor.op
    hides = op.type == _DEFAULTS and state_of(op.graph).provenance.is_gradient(op)
    return op.inputs[0] if hides else tensor


def _holds_workers_rows(op: Any) -> bool:
    """True for a placeholder of fixed size, which each worker feeds rows of its own."""
    return op.type in PLACEHOLDERS and feeds.is_undecided(op.outputs[0])


def asks_if_initialized(op: Any) -> bool:
    """True for what only asks whether a variable has a value."""
    return op.type in ("IsVariableInitialized", "VarIsInitializedOp")


def loaded(op: Any) -> Optional[Any]:
    """What an assignment takes its value from, if that is fed or restored as it is; else None."""
    if op.type not in _ASSIGNMENTS:
        return None
    source = op.inputs[1].op
    while source.type in _SAME_VALUE:
        source = source.inputs[0].op
    return source if brings_data(source) and not any(map(is_handle, source.inputs)) else None


def varies(op: Any, library: Any) -> bool:
    """True if `op` may give another value wherever, and whenever, it runs; fed ones left out.

    Args:
      op: the operation.
      library: the `functions.Library` of its graph.
    """
    if calls_functions(op) and "Dataset" not in op.type and "Iterator" not in op.type:
        return any(node.op in _PYTHON or seeds(node, None) is not None
                   for node in library.nodes(op))
    if op.type in STEP_SCOPED or op.type in PLACEHOLDERS or op.type == _DEFAULTS:
        return False
    return starts_batch(op) and not works_in_step(op) and not is_fed_per_batch(op)


def works_in_step(op: Any) -> bool:
    """True for what puts into, or takes out of, something that lives as long as a step."""
    return any(is_handle(t) and handle_origin(t).type in STEP_SCOPED for t in op.inputs)


def data_origin(op: Any) -> Optional[Any]:
    """The iterator, queue or reader that `op` takes data from; None if it takes from none."""
    if not op.outputs or not brings_data(op):
        return None
    origins = [handle_origin(t) for t in op.inputs if is_handle(t)]
    return next((o for o in origins if not is_variable(o) and o.type not in STEP_SCOPED), None)


def can_be_fed(op: Any) -> bool:
    """True for a placeholder of whatever kind."""
    return op.type in PLACEHOLDERS or op.type == _DEFAULTS


def brings_data(op: Any) -> bool:
    """True if `op` reads from outside of the graph: it is fed, or takes from a dataset or queue."""
    if op.type in PLACEHOLDERS:
        return True
    return (op.type not in STEP_SCOPED and op.type != _DEFAULTS
            and not is_random(op) and starts_batch(op))
