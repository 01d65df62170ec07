# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The memory of a run as files: a table of all changes, and a picture of what was in use."""

import csv
import os
from importlib import import_module
from typing import Any, List, Tuple

from epl.profiler.memory import DeviceMemory, Record

_COLUMNS = ("time", "name", "allocated_bytes", "allocator_type", "persist_size", "cumsum")
_COLOURS = {"persistent": "#b8b8b8", "forward": "#4c78a8", "gradients": "#d98032",
            "optimizer": "#4f9a58"}


def write_memory(memory: DeviceMemory, prefix: str) -> List[str]:
    """Write `<prefix>_<device>.csv` and `.csv.png`; returns the paths."""
    path = "{}_{}.csv".format(prefix, memory.device.replace("/", "_").replace(":", "-"))
    directory = os.path.dirname(path)
    if directory:
        os.makedirs(directory, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        rows.writerows(memory.records)
    draw_memory(memory, path + ".png")
    return [path, path + ".png"]


def draw_memory(memory: DeviceMemory, path: str) -> None:
    """Write a picture of what was in use, change by change, in the colours of who changed it."""
    figure = import_module("matplotlib.figure").Figure((12, 4), dpi=100)
    import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    for kind, colour in _COLOURS.items():
        places, sizes = _of_kind(memory.records, kind)
        if places:
            axes.bar(places, sizes, 1.0, color=colour, label=kind)
    axes.axhline(memory.peak / 2.0 ** 20, color="black", linewidth=0.8, linestyle=":",
                 label="peak")
    axes.set_xlabel("changes, in the order of time")
    axes.set_ylabel("MiB in use")
    axes.set_title(memory.device)
    axes.legend(loc="upper right")
    figure.savefig(path)


def _of_kind(records: Tuple[Record, ...], kind: str) -> Tuple[List[int], List[float]]:
    own = [(number, record.in_use / 2.0 ** 20) for number, record in enumerate(records)
           if _kind(record) == kind]
    return [number for number, _ in own], [size for _, size in own]


def _kind(record: Record) -> str:
    """For the colour only: what TensorFlow calls its operations."""
    if record.persistent:
        return "persistent"
    scopes = record.name.split("/")
    if any(scope.startswith("gradients") for scope in scopes):
        return "gradients"
    return "optimizer" if any(scope.startswith("update_") for scope in scopes) else "forward"
