# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How long the operations of a model took: a file that one run writes and others plan with.

    {"format": 1,
     "device": "cpu",                        what they ran on
     "tensorflow": "1.15.5",
     "step_us": 8123.4,                      a traced step, with all that belongs to it
     "bytes_per_second": null,               from one device to the next; null: see LINK
     "operations_us": {"dense/MatMul": 812.25, ...}}      microseconds in a step of one micro-batch
"""

import json
import os
from typing import Any, Dict, NamedTuple, Optional

from epl.errors import ConfigError, shown

LINK = 1e10  # bytes per second from one device to another, assumed

_FORMAT = 1
_MOST = 1e15  # of every number; microseconds: 30 years
_KEYS = ("device", "tensorflow", "step_us", "bytes_per_second", "operations_us")


class Measured(NamedTuple):
    """What was measured.

    Attributes:
      device: "cpu" or "gpu".
      tensorflow: its version.
      step_us: microseconds of a step, from its first operation to the end of its last; the median
        of several.
      bytes_per_second: from one device to another, which nothing measures: write it into the file
        if you know it; None: `LINK`.
      operations_us: name of an operation -> microseconds in a step of one micro-batch, all its
        executions together; the median of several steps.
    """

    device: str
    tensorflow: str
    step_us: float
    bytes_per_second: Optional[float]
    operations_us: Dict[str, float]

    def save(self, path: str) -> None:
        """Write the file, at once: who reads it meanwhile reads what was there before.

        Raises:
          OSError: it cannot be written.
        """
        beside = "{}.{}".format(path, os.getpid())
        with open(beside, "w") as file:
            json.dump(dict({"format": _FORMAT}, **self._asdict()), file, indent=1, sort_keys=False)
            file.write("\n")
        os.replace(beside, path)


def load(path: str) -> Measured:
    """Read a file of `Measured.save`.

    Raises:
      ConfigError: it cannot be read, or is no such file.
    """
    try:
        with open(path) as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError("auto.costs = {}: {}; epl.profiler.CostsHook writes such a file".format(
            shown(path), error)) from None
    wrong = _wrong(found)
    if wrong:
        raise ConfigError("auto.costs = {}: {}; have epl.profiler.CostsHook write it again".format(
            shown(path), wrong))
    return Measured(*[found[key] for key in _KEYS])


def _wrong(found: Any) -> str:
    """What is wrong with the content of a file; "" if nothing is."""
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        return "this version of EPL reads files with \"format\": {}".format(_FORMAT)
    missing = [key for key in _KEYS if key not in found]
    if missing:
        return "{} is missing".format(" and ".join(missing))
    if found["device"] not in ("cpu", "gpu"):
        return "device = {} is neither 'cpu' nor 'gpu'".format(shown(found["device"]))
    operations = found["operations_us"]
    if not isinstance(operations, dict) or not operations:
        return "operations_us names no operation"
    numbers = dict(operations, step_us=found["step_us"])
    if found["bytes_per_second"] is not None:
        numbers["bytes_per_second"] = found["bytes_per_second"]
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) \
                or not 0 <= number <= _MOST:
            return "{} = {} is no number of 0 to {:g}".format(name, shown(number), _MOST)
    if found["bytes_per_second"] is not None and found["bytes_per_second"] < 1:
        return "bytes_per_second = {}: write null if it is not known".format(
            shown(found["bytes_per_second"]))
    return ""
