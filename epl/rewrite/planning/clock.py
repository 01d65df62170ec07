# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What operations take of a device's time: by assumed rates, or as a run has measured it.

Whole numbers, so that two workers come to the same: FLOPs with assumed rates, picoseconds
where times were measured.
"""

import hashlib
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
      others: operation of the script that it was not asked for, such as an update of a variable ->
        what it takes, where that was measured.
      source: what all workers have to plan with, in one line; "": with the same version of EPL they
        do.
    """

    work: Callable[[Any, int, int], int]
    sent: int
    seconds: Optional[float]
    described: str
    others: Dict[Any, int]
    source: str = ""


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
                 rates.sent, None, "with the assumed rates of a {}".format(device.upper()), {})


def _as_measured(path: str, measured: Measured, graph: Any, ops: Set[Any]) -> Clock:
    """By a file; what TensorFlow made of an operation at run time counts as that operation's."""
    found: Dict[Any, int] = {}
    others: Dict[Any, int] = {}
    strange = [name for name in measured.operations_us if _operation(graph, name) is None]
    for name, microseconds in measured.operations_us.items():
        op = _operation(graph, name)
        if op is not None:
            (found if op in ops else others)[op] = int(round(1e6 * microseconds))
    share = 100 * sum(measured.operations_us[name] for name in strange) / (
        sum(measured.operations_us.values()) or 1.0)
    if share > _STRANGE or not found:
        raise ConfigError(
            "auto.costs = '{}': {:.0f} % of the time that it has is of operations that this graph "
            "does not have{}: it is of another model; measure this one".format(
                path, share, ", such as '{}'".format(strange[0]) if strange else ""))
    return Clock(lambda op, flops, written: found.get(op, 0),
                 int(round(1e12 / (measured.bytes_per_second or LINK))), 1e-12,
                 "as measured in '{}'".format(path), others,
                 "auto.costs = '{}', whose content is to be the same for all: sha256 {}".format(
                     path, hashlib.sha256(repr(measured).encode()).hexdigest()[:16]))


def _operation(graph: Any, name: str) -> Any:
    try:
        return graph.get_operation_by_name(name)
    except (KeyError, ValueError):  # ValueError: the name of a tensor
        return None
