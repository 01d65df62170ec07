# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `summaries`: a summary of a merged tensor shows the merged value.

    loss ------> ScalarSummary ---> MergeSummary            as the script built them
    merged ----> ScalarSummary' --> MergeSummary'           what a training step returns instead

Outside of a training step the script's own operations run, which need no other worker.
"""

from typing import Any, Dict

from epl import compat
from epl.ir.graph_state import GradientGroup
from epl.rewrite.merge import Merged

_SUMMARIES = frozenset(["ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary",
                        "AudioSummaryV2", "TensorSummary", "TensorSummaryV2"])
_MERGES = frozenset(["MergeSummary"])


def is_summary(op: Any) -> bool:
    """True for an operation that makes a summary."""
    return op.type in _SUMMARIES or op.type in _MERGES


def merge_summaries(graph: Any, group: GradientGroup) -> None:
    """Build what a step of `group` returns for summaries of merged tensors."""
    if not group.merged:
        return
    by_type: Dict[bool, Any] = {True: [], False: []}
    for op in graph.get_operations():
        if is_summary(op):
            by_type[op.type in _MERGES].append(op)
    for op in by_type[False] + by_type[True]:  # a MergeSummary takes what was made before it
        if op.outputs[0].name not in group.merged \
                and any(t.name in group.merged for t in op.inputs):
            group.merged[op.outputs[0].name] = Merged(_twin(graph, group, op), ())


def _twin(graph: Any, group: GradientGroup, op: Any) -> Any:
    """A copy of `op` that reads merged values where there are some."""
    inputs = [group.merged[t.name].value if t.name in group.merged else t for t in op.inputs]
    with compat.inserted(graph, group.name + "/summaries"):
        return compat.copy_with_inputs(op, inputs).outputs[0]
