# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Events of a step as spans: what every device did when.

    could run    .|----|            |...a.......|
    ran          .     |====|=======|    |==b===|......|==c===|
    span         .|#################|    |#######|     |######|

An action is busy while one of its operations runs. While no action of its device has one running,
the operation that starts next counts from when it had all its inputs: it waited for a thread, and
nothing else. Where it had to wait for its inputs, the device was idle. A span consists of the
pieces of time in which its action was busy; most have one. (What needs nothing of the stage before,
such as a dropout mask, may run early, and is a piece of its own.)
"""

from typing import Dict, Iterable, List, Sequence, Tuple

from epl.plan.action import KINDS, Action, Span
from epl.profiler.action_map import ActionMap
from epl.profiler.events import RAN, Event

Interval = Tuple[int, int]  # (start, end) in nanoseconds

_CONSTANT = "Const"


def make_spans(events: Iterable[Event], action_map: ActionMap) -> List[Span]:
    """The spans of a step.

    An operation counts only on a device of its action's stage: rows that are gathered on the device
    of an embedding table are not work of the stage that uses them. A constant counts only behind
    other work of its action: TensorFlow's graph optimizer leaves constants where it has computed
    something beforehand, and they are there when the step begins.

    Args:
      events: of the step.
      action_map: the step's actions.

    Returns:
      Spans in the order in which their longest pieces start.
    """
    done = [event for event in events if event.kind == RAN]
    homes = _homes(action_map, done)
    work: Dict[str, List[Tuple[Event, Action]]] = {}
    rest: Dict[str, List[Event]] = {}
    for event in sorted(done, key=lambda event: event.start):
        action = action_map.find(event.name)
        if action is None:
            rest.setdefault(event.device, []).append(event)
        elif event.device in homes[action.replica, action.stage]:
            work.setdefault(event.device, []).append((event, action))
    spans: List[Span] = []
    for device, found in work.items():
        actions = _busy(found)
        spans.extend(Span(device, action, union(times)) for action, times in actions.items())
        last = max((end for times in actions.values() for _, end in times), default=0)
        update = union((max(e.ready, last), e.end) for e in rest.get(device, []) if e.end > last)
        if actions and update:
            spans.append(Span(device, None, update))
    return sorted(spans, key=lambda span: (span.main, span.device))


def _busy(work: Sequence[Tuple[Event, Action]]) -> Dict[Action, List[Interval]]:
    """When the actions of a device were busy.

    Args:
      work: operations and their actions, in the order in which they started.
    """
    found: Dict[Action, List[Interval]] = {}
    free = work[0][0].start  # when all that started has ended
    for event, action in work:
        if event.type == _CONSTANT and action not in found:
            continue
        found.setdefault(action, []).append((min(event.start, max(event.ready, free)), event.end))
        free = max(free, event.end)
    return found


def computes_gradients(events: Iterable[Event], action_map: ActionMap) -> bool:
    """True if something of a backward pass is among `events`."""
    actions = (action_map.find(event.name) for event in events)
    return any(action is not None and KINDS[action.kind].computes_gradients for action in actions)


def union(intervals: Iterable[Interval]) -> Tuple[Interval, ...]:
    """The time that the intervals cover together: in order, none touching the next."""
    found: List[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def _homes(action_map: ActionMap,
           events: Sequence[Event]) -> Dict[Tuple[int, int], Tuple[str, ...]]:
    """The devices of every stage; where TensorFlow chose, the first accelerator that worked."""
    used = sorted({event.device for event in events}, key=lambda d: (d.startswith("CPU:"), d))
    return {place: devices or tuple(used[:1]) for place, devices in action_map.devices.items()}
