# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `verify`: walk what the other passes built and check the promises.

Cheap, and always on. A failure here is a defect of EPL.
"""

from typing import Any, Sequence

from epl import compat
from epl.errors import RewriteError
from epl.ir.graph_state import GradientGroup, GraphState


def verify_group(state: GraphState, group: GradientGroup, raw: Sequence[Any]) -> None:
    """Check one gradient group.

    Args:
      state: record of the graph.
      group: the group that was just built.
      raw: tensors of the raw gradients of variables (values and indices of sparse ones).

    Raises:
      RewriteError: a promise is broken; the message names the operation.
    """
    names = [collective.name for collective in state.collectives]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RewriteError("collectives {} would meet under one name".format(twice))
    replaced = {id(old) for old, _ in group.replaced}
    for tensor in raw:
        if id(tensor) not in replaced:
            raise RewriteError("gradient {} would be applied without being reduced".format(
                tensor.name))
    for collective in group.collectives:
        if compat.control_flow_context(collective.op) is not None:
            raise RewriteError("collective {} is inside control flow, where a worker may skip it"
                               .format(collective.name))
        if not collective.op.outputs[0].consumers() and not any(
                new.op is collective.op for _, new in group.replaced):
            raise RewriteError("collective {} feeds nothing".format(collective.name))
