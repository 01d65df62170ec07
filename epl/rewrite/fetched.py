# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a step returns for what the script fetches: that of this worker's whole batch.

    the loss, and what follows from it       of the whole job
    what is registered                       as the script said
    what writes variables from the batch     of the whole job; its copy runs (see `written`)
    rows                                     of this worker, joined
    anything else of the batch               computed from those

It is made when it is first fetched; a graph that is finalized is opened for it.
"""

from typing import Any, List, Mapping, Sequence, Tuple

from epl.ir.graph_state import GraphState
from epl.rewrite import op_traits, registered, rewriter, written
from epl.rewrite.groups import GradientGroup, Merged, sources_of
from epl.rewrite.leaving import Leaving
from epl.rewrite.walk import data_ancestors
from epl.rewrite.whole import WholeBatch


def stand_ins(graph: Any, state: GraphState, groups: Sequence[GradientGroup],
              fetches: Sequence[Any], targets: Sequence[Any]) -> Tuple[List[Any], List[Any]]:
    """What a step of `groups` fetches and runs in place of `fetches` and `targets`.

    Raises:
      NotImplementedError: something of which EPL cannot tell what it is for the whole batch.
    """
    job = state.find(WholeBatch)
    if job is None:  # the batch is not divided
        return list(fetches), list(targets)
    leaving = state.known(Leaving)
    merged = {name: value for group in reversed(groups) for name, value in group.merged.items()}
    # What a group differentiates it exchanges; of another one's loss it has this worker's value.
    merged.update((y.name, group.merged[y.name]) for group in reversed(groups) for y in group.ys
                  if y.name in group.merged)
    if job.exchanges:
        registered.check_fetched(fetches, groups, merged, state)
    found = []
    for tensor in fetches:
        if tensor.name in merged:  # of two groups the first one's
            found.append(merged[tensor.name].value)
        elif tensor.op in leaving.deferred:
            _copy_late(graph, state, tensor.op)
            found.append(job.tensor(tensor))
        elif tensor.op in leaving.of_batch:
            found.append(_of_worker(graph, state, groups, tensor, merged))
        else:
            found.append(tensor)
    for op in targets:
        _copy_late(graph, state, op)
    return found, [job.operation(op) for op in targets]


def _copy_late(graph: Any, state: GraphState, op: Any) -> None:
    """Make what stands for an operation that waits for a write from the batch."""
    job = state.known(WholeBatch)
    if op in state.known(Leaving).deferred and not job.has_copy(op):
        with rewriter.extended(graph, state):
            job.build([], [op], written.view_of(state), in_advance=False)


def _of_worker(graph: Any, state: GraphState, groups: Sequence[GradientGroup], tensor: Any,
               merged: Mapping[str, Merged]) -> Any:
    """What `tensor` is for all rows of this worker; `merged` is what the step merges."""
    needed = sources_of([tensor], state)
    for group in groups:
        # What is fed beside the step's own data is divided like that.
        if all(op in group.sources or op.type in op_traits.PLACEHOLDERS for op in needed):
            behind = data_ancestors([tensor.op])
            others = [other for other in groups if other is not group
                      and any(y.op in behind for y in other.ys)]
            local = written.local_together(graph, state, [group] + others, merged) if others \
                else written.local_of(graph, state, group)
            return _local(graph, state, group, local, tensor)
    return tensor


def _local(graph: Any, state: GraphState, group: GradientGroup, local: WholeBatch,
           tensor: Any) -> Any:
    def build() -> None:
        local.build([tensor], [], written.view_of(state), in_advance=False)

    if not local.has(tensor):
        if group.copied is None:
            with rewriter.extended(graph, state):
                build()
        else:
            rewriter.cover(graph, group, [tensor], build)
    return local.tensor(tensor)
