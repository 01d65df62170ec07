# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a check found: rows, a verdict, a table."""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

from epl.checking.compare import DIFFERS, OWN, SAME, SENSITIVE, UNLIKE, Row
from epl.shared.check import DIFFERENT_CODE, UNCHECKED_CODE

_ORDER = (SAME, OWN, SENSITIVE, DIFFERS, UNLIKE)
_SHOWN = 12


class Found(NamedTuple):
    """A row, and where it comes from: the step (from 1) and the worker."""

    row: Row
    step: int
    worker: int

    @property
    def rank(self) -> Tuple[int, float]:
        return _ORDER.index(self.row.verdict), self.row.excess


class Report(NamedTuple):
    """The result of a check.

    Attributes:
      steps: how many steps were compared.
      worst: the worst row of each tensor over steps and workers: what differs first; fetches, then
        gradients, then variables; sorted by how far they are beyond their limits.
      notes: likely causes, and what cannot be compared.
      unchecked: why nothing (or not all) could be compared, or "".
      layout: the plan in a line.
      batch: what the batch consists of: a line per source, with shape and number of parts.
      how: how plain TensorFlow was given it.
    """

    steps: int
    worst: Sequence[Found]
    notes: Sequence[str]
    unchecked: str
    layout: str
    batch: Sequence[str]
    how: str

    @property
    def different(self) -> List[str]:
        """Names of what differs."""
        return [f.row.name for f in self.worst if f.row.verdict in (DIFFERS, UNLIKE)]

    @property
    def passed(self) -> bool:
        """All steps could be compared, and nothing differs."""
        return not self.unchecked and not self.different

    @property
    def exit_code(self) -> int:
        """0 if nothing differs, 3 if something does, 4 if not all could be compared."""
        if self.different:
            return DIFFERENT_CODE
        return UNCHECKED_CODE if self.unchecked else 0

    def describe(self) -> str:
        """The report as text."""
        lines = []
        if self.layout:
            lines.append("{} step(s) beside plain TensorFlow, one device, {}".format(
                self.steps, self.how))
            lines.append("layout: " + self.layout)
        lines.extend("data: " + line for line in self.batch)
        if self.worst:
            lines.extend(_table(self.worst))
        lines.extend("note: " + note for note in self.notes)
        return "\n".join(lines + [self._verdict()])

    def _verdict(self) -> str:
        if self.different:
            return "DIFFERENT: {} of {} value(s) are not those of one device{}".format(
                len(self.different), len(self.worst),
                "; not all was compared: " + self.unchecked if self.unchecked else "")
        if self.unchecked:
            return "NOT CHECKED: " + self.unchecked
        sensitive = sum(f.row.verdict == SENSITIVE for f in self.worst)
        kinds = [f.row.kind for f in self.worst if f.row.verdict in (SAME, OWN)]
        text = "SAME: {}".format(", ".join("{} {}(s)".format(kinds.count(kind), kind)
                                           for kind in ("fetch", "gradient", "variable")))
        if sensitive:
            text += "; {} more cannot be told from rounding".format(sensitive)
        return text.replace("fetch(s)", "fetch(es)")


def worst(found: Iterable[Found]) -> List[Found]:
    """The worst row of every tensor, the worst tensor first."""
    kept: Dict[Tuple[str, str], Found] = {}
    for one in found:
        key = one.row.kind, one.row.name
        if key not in kept or one.rank > kept[key].rank:
            kept[key] = one
    # Wrong gradients before the variables that are wrong because of them.
    return sorted(kept.values(), key=lambda f: (
        -_ORDER.index(f.row.verdict), f.row.kind if f.row.verdict != SAME else "", -f.row.excess))


def _table(found: Sequence[Found]) -> List[str]:
    lines = [["", "", "difference", "relative", "limit", "step", "worker", ""]]
    bad = sum(f.row.verdict != SAME for f in found)
    shown = found[:max(_SHOWN, bad)]
    for one in shown:
        row = one.row
        numbers = ["-"] * 3 if row.verdict == UNLIKE else [
            "{:.1e}".format(row.difference), "{:.1e}".format(row.relative),
            "{:.1e}".format(row.limit)]
        verdict = "" if row.verdict == SAME else row.verdict.upper()
        lines.append([row.kind, row.name] + numbers + [str(one.step), str(one.worker), ", ".join(
            text for text in (verdict, row.detail) if text)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join([line[0].ljust(widths[0]), line[1].ljust(widths[1])] + [
        cell.rjust(width) for cell, width in zip(line[2:7], widths[2:])] + [line[7]]).rstrip()
        for line in lines]
    if len(found) > len(shown):
        text.append("and {} more, all the same".format(len(found) - len(shown)))
    return text
