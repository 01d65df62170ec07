# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Why values may differ, in words; told from the script's operations and from the numbers."""

from typing import Any, List, Sequence

import numpy as np

from epl.checking.compare import DIFFERS, SENSITIVE, UNLIKE
from epl.checking.join import Batch
from epl.checking.record import Taken
from epl.checking.report import Found
from epl.checking.wanted import Wanted

_NAMES = 3  # that many are named


def of_draws(wanted: Wanted, undrawn: Sequence[str]) -> List[str]:
    """About random operations that cannot be repeated."""
    notes = []
    if wanted.unseen:
        notes.append("what {} draw(s) inside of control flow or a function cannot be read, so "
                     "plain TensorFlow draws otherwise: check with a rate of 0".format(
                         _some(wanted.unseen)))
    if undrawn:
        notes.append("{} draw(s) once for all rows in plain TensorFlow, but otherwise in every "
                     "micro-batch and on every worker; what depends on it cannot be compared: "
                     "check without it".format(_some(undrawn)))
    return notes


def of_batch(batch: Batch, workers: Sequence[Taken]) -> List[str]:
    """About the data."""
    notes = list(batch.warnings)
    for name in sorted(batch.parts):
        pieces = [p for w in workers for p in w.sources.get(name, [w.fed.get(name)])]
        sizes = sorted({len(p) for p in pieces if np.ndim(p)})
        if batch.parts[name] > 1 and len(sizes) > 1:
            notes.append("the parts of '{}' have {} rows: a mean over a part with fewer rows "
                         "counts as much as that of another".format(
                             name, " and ".join(map(str, sizes))))
            break
    return notes


def of_differences(graph: Any, wanted: Wanted, parts: int, found: Sequence[Found]) -> List[str]:
    """About what differs.

    Args:
      graph: the job's graph.
      wanted: what the step consists of.
      parts: into how many parts the batch was divided, over all workers.
      found: the worst rows.
    """
    notes = []
    different = [f.row for f in found if f.row.verdict in (DIFFERS, UNLIKE)]
    if different and parts > 1:
        if any(row.kind == "gradient" and _factor(row.detail) in (parts, round(1.0 / parts, 4))
               for row in different):
            notes.append("{} is the number of parts: is the loss divided by a constant that stands "
                         "for a number of rows, or a mean while "
                         "communication.gradients_reduce_method is 'sum'?".format(parts))
    if any(row.kind == "fetch" and row.verdict == UNLIKE for row in different):
        notes.append("a fetch of another shape than the whole batch's holds the rows of a part: "
                     "register it with epl.add_to_collection(tensor, "
                     "epl.GraphKeys.GLOBAL_CONCAT_OBJECTS)")
    if any(f.row.verdict == SENSITIVE for f in found):
        notes.append("SENSITIVE: plain TensorFlow itself gives something as far away if its inputs "
                     "differ in the last bit (gradients that are zero but for rounding, divided by "
                     "their size): not counted")
    functions = [name for name in wanted.reached
                 if graph.get_operation_by_name(name).type in ("PyFunc", "EagerPyFunc")
                 and name + ":0" not in wanted.taken]
    if functions:
        notes.append("the Python function of {} was called again, with the whole batch".format(
            _some(functions)))
    return notes


def _factor(detail: str) -> float:
    words = detail.split(" times ")
    return round(float(words[0]), 4) if len(words) > 1 else 0.0


def _some(names: Sequence[str]) -> str:
    text = ", ".join("'{}'".format(name) for name in names[:_NAMES])
    return text + (" and {} more".format(len(names) - _NAMES) if len(names) > _NAMES else "")
