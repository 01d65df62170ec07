# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What operations take of a device's time: by assumed rates, or as a run has measured it.

Whole numbers, so that two workers come to the same: FLOPs with assumed rates, picoseconds
where times were measured.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Set

from epl.errors import ConfigError
from epl.ir.environment import context_of
from epl.plan.costs import RATES, work_of
from epl.plan.measured import LINK, Measured, load

_STRANGE = 10  # percent of the measured time that may be of operations that a graph does not have


class Clock(NamedTuple):
    """How long things take.

    Attributes:
      work: of an operation, its FLOPs and the bytes that it writes: what it takes.
      sent: what a byte takes to the device of the next stage.
      seconds: of a unit; None: only ratios mean something.
      described: how it is known, for people.
    """

    work: Callable[[Any, int, int], int]
    sent: int
    seconds: Optional[float]
    described: str


def check(path: str, device: str) -> Optional[Measured]:
    """The measured times of a file, if there is one.

    Args:
      path: of the file; "": there is none.
      device: what the job runs on, "cpu" or "gpu".

    Raises:
      ConfigError: it cannot be read, or is of another device.
    """
    measured = load(path) if path else None
    if measured is not None and measured.device != device:
        raise ConfigError("auto.costs = '{}' was measured on a {}, but this job runs on a {}: "
                          "measure there, or leave the key out".format(
                              path, measured.device, device))
    return measured


def clock_of(graph: Any, ops: Set[Any]) -> Clock:
    """The clock that a graph is planned by.

    Args:
      graph: the script's.
      ops: the operations that it will be asked for.

    Raises:
      ConfigError: as `check`, or measured times of another model.
    """
    context = context_of(graph)
    path, device = context.config.auto.costs, context.cluster.device_type
    measured = check(path, device)
    return assumed(device) if measured is None else _as_measured(path, measured, graph, ops)


def assumed(device: str) -> Clock:
    """By the assumed rates of a kind of device, "cpu" or "gpu"."""
    rates = RATES[device]
    return Clock(lambda op, flops, written: work_of(flops, bool(op.inputs), written, rates),
                 rates.sent, None, "with the assumed rates of a {}".format(device.upper()))


def _as_measured(path: str, measured: Measured, graph: Any, ops: Set[Any]) -> Clock:
    """By a file; what TensorFlow made of an operation at run time counts as that operation's."""
    known = {op.name: op for op in ops}
    found: Dict[Any, int] = {}
    strange = everything = 0.0
    for name, microseconds in measured.operations_us.items():
        everything += microseconds
        if name in known:
            found[known[name]] = int(round(1e6 * microseconds))
        elif not _is_in(graph, name):
            strange += microseconds
    if strange * 100 > everything * _STRANGE or not found:
        raise ConfigError(
            "auto.costs = '{}': {:.0f} % of the time that it has is of operations that this graph "
            "does not have, such as '{}': it is of another model; measure this one".format(
                path, 100 * strange / everything if everything else 100, next(
                    name for name in measured.operations_us if not _is_in(graph, name))))
    return Clock(lambda op, flops, written: found.get(op, 0),
                 int(round(1e12 / (measured.bytes_per_second or LINK))), 1e-12,
                 "as measured in '{}'".format(path))


def _is_in(graph: Any, name: str) -> bool:
    try:
        graph.get_operation_by_name(name)
        return True
    except KeyError:
        return False
