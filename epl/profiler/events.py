# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's `StepStats` as plain events.

    scheduled          started               ended
        |--- in a queue ---|---- running ----|

`StepStats` has one list per device string. For a device with kernels of its own there are several:

    /job:localhost/replica:0/task:0/device:GPU:0     the host launches operations: returns at once
    /device:GPU:0/stream:all                         kernels, when they ran
    /device:GPU:0/memcpy                             copies
    /device:GPU:0/stream:13, /host:CPU               the same again
"""

import re
from typing import Any, List, NamedTuple, Optional, Tuple

RAN = "ran"
LAUNCHED = "launched"
COPIED = "copied"

_DEVICE = re.compile(r"(?:^|/)(?:device:)?(?!job:|replica:|task:)([a-z_]+):(\d+)(?:/(.*))?$",
                     re.IGNORECASE)
_KINDS = {None: LAUNCHED, "stream:all": RAN, "memcpy": COPIED, "memcpy:all": COPIED}
_TYPE_IN_LABEL = re.compile(r" = (\w+)\(")  # "[cpu 0.2MB 0.2MB] dense/MatMul = MatMul(x, y)"
_TYPE_IN_NAME = re.compile(r"^(.*):(\w+)$")  # kernels: "dense/MatMul:MatMul"

_NANOSECONDS = 1000  # per microsecond
_WRAP = 2 ** 64
_SLACK_NS = 1000 * _NANOSECONDS


class Event(NamedTuple):
    """One execution of one operation, or of one of its kernels.

    Attributes:
      device: kind and number, "CPU:1".
      kind: RAN, LAUNCHED (by the host, for a device that runs it later) or COPIED.
      name: of the operation; TensorFlow's graph optimizers may have made it.
      type: of the operation as it was executed (a fused one has another than in the graph), or "".
      ready: when it had all its inputs and could have started, in nanoseconds; where that is not
        known, `start`.
      start: when it started. The first event of a step starts at 0.
      end: when it ended.
    """

    device: str
    kind: str
    name: str
    type: str
    ready: int
    start: int
    end: int


def device_key(device: str) -> Optional[Tuple[str, str]]:
    """What a device string of `StepStats`, or of an operation, stands for.

    Returns:
      (device as in `Event.device`, kind of event), or None if it says nothing that another
      string does not say.
    """
    match = _DEVICE.search(device)
    if match is None or match.group(3) not in _KINDS:
        return None
    return "{}:{}".format(match.group(1).upper(), int(match.group(2))), _KINDS[match.group(3)]


def read_events(step_stats: Any) -> List[Event]:
    """The events of a traced run.

    Args:
      step_stats: `RunMetadata.step_stats` of a run with `RunOptions.FULL_TRACE`.

    Returns:
      Events in the order in which they started.
    """
    nodes: List[Tuple[str, str, Any]] = []
    for stats in step_stats.dev_stats:
        key = device_key(stats.device)
        if key is not None:
            nodes.extend((key[0], key[1], node) for node in stats.node_stats)
    if not nodes:
        return []
    origin = min(_start(node) for _, _, node in nodes)
    with_kernels = {device for device, kind, _ in nodes if kind == RAN}
    found = []
    for device, kind, node in nodes:
        if kind == LAUNCHED and device not in with_kernels:
            kind = RAN  # this device runs what the host launches at once
        found.append(_event(device, kind, node, origin))
    return sorted(found, key=lambda event: (event.start, event.end))


def _event(device: str, kind: str, node: Any, origin: int) -> Event:
    start = _start(node)
    # Its whole time goes on while it hands its result on, to what may have begun by then.
    end = start + (node.op_end_rel_nanos or node.all_end_rel_nanos
                   or node.all_end_rel_micros * _NANOSECONDS)
    name, executed = node.node_name, _TYPE_IN_LABEL.search(node.timeline_label)
    in_name = None if executed else _TYPE_IN_NAME.match(name)
    if in_name:
        name, executed = in_name.group(1), in_name
    ready = start if in_name else _ready(node, start, origin)
    return Event(device, kind, name, executed.group(executed.re.groups) if executed else "",
                 ready - origin, start - origin, end - origin)


def _start(node: Any) -> int:
    return int(node.all_start_nanos or node.all_start_micros * _NANOSECONDS)


def _ready(node: Any, start: int, origin: int) -> int:
    """When an operation was scheduled.

    TensorFlow (1.15 to 2.15) multiplies its nanoseconds by 1000 once too often and they wrap in 64
    bits. Of all times that give what is left of them, which are 213 days apart, it is the one next
    to the start.
    """
    scheduled = int(node.scheduled_nanos)
    wraps = (start * 1000 - scheduled + _WRAP // 2) // _WRAP
    for candidate in (scheduled, (scheduled + wraps * _WRAP) // 1000):
        if origin - _SLACK_NS <= candidate <= start:
            return max(candidate, origin)
    return start
