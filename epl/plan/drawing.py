# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A simulation as text: a row per device, time to the right.

    stage 0 | F0 F1 .  .  B0 -  .  B1 -
    stage 1 | .  F0 B0 -  F1 B1 -  .  .

Fi is the forward of micro-batch i, Bi its backward (other letters are in `action.KINDS`), `-` the
same action going on, `.` an idle device. Where devices have several stages each, a letter says
which of its own a device is at, and what stands before a row which stages they are:

    device 0, stages 0a 2b | F0a F0b ...
"""

from bisect import bisect_right
from fractions import Fraction
from typing import List, NamedTuple, Optional, Sequence, Tuple

from epl.plan.action import Span
from epl.plan.simulator import Simulation

_IDLE = "."
_GOES_ON = "-"


class _Row(NamedTuple):
    """The actions of a device that are drawn, one after the other."""

    title: str
    labels: List[str]
    starts: List[Fraction]
    ends: List[Fraction]


def draw(simulation: Simulation, width: int = 100, max_blocks: int = 4) -> str:
    """Draw a simulation.

    A column lasts as long as the shortest action and shows what runs in its middle, so that no
    action is lost; actions that take no time are not drawn. What does not fit into a line goes on
    in another block of rows, and of many blocks the first and the last are drawn.

    Args:
      simulation: what to draw.
      width: characters per line, if one column fits into them.
      max_blocks: blocks of rows at most; at least 2.

    Returns:
      Lines of plain ASCII without a newline at the end; empty if there is nothing to draw.
    """
    if max_blocks < 2:
        raise ValueError("max_blocks = {}: use 2 or more".format(max_blocks))
    rows = _rows(simulation)
    column = min((end - start for row in rows for start, end in zip(row.starts, row.ends)),
                 default=None)
    if column is None:
        return ""
    prefix = "{{:{}}} | ".format(max(len(row.title) for row in rows))
    cell = max(len(label) for row in rows for label in row.labels)
    per_block = max(1, (width - len(prefix.format("")) + 1) // (cell + 1))
    makespan = Fraction(simulation.makespan)
    num_columns = -int(-makespan // column)
    num_blocks = -(-num_columns // per_block)
    lines: List[str] = []
    for block in _shown(num_blocks, max_blocks):
        if block is None:
            lines.append("...")
            continue
        columns = range(block * per_block, min((block + 1) * per_block, num_columns))
        if num_blocks > 1:
            lines.append("time {} to {}".format(_text(columns[0] * column),
                                                _text(min(makespan, (columns[-1] + 1) * column))))
        for row in rows:
            cells = [_cell(row, i, column).ljust(cell) for i in columns]
            lines.append((prefix.format(row.title) + " ".join(cells)).rstrip())
    return "\n".join(lines)


def _rows(simulation: Simulation) -> List[_Row]:
    stages = [sorted({span.action.stage for span in own if span.action})
              for own in simulation.devices]
    number = "{{:>{}}}".format(len(str(len(stages) - 1)))
    plain = all(own in ([], [device]) for device, own in enumerate(stages))
    if plain:
        titles = ["stage " + number.format(device) for device in range(len(stages))]
    else:
        titles = ["device {}, stages {}".format(number.format(device), " ".join(
            "{}{}".format(stage, _letter(i)) for i, stage in enumerate(own)))
                  for device, own in enumerate(stages)]
    return [_row(title, spans, None if plain else own)
            for title, spans, own in zip(titles, simulation.devices, stages)]


def _row(title: str, spans: Sequence[Span], stages: Optional[List[int]]) -> _Row:
    """The row of a device; with letters for `stages`, or None for no letters."""
    drawn = [span for span in spans if span.end > span.start]
    letters = [_letter(stages.index(span.action.stage)) if stages and span.action else ""
               for span in drawn]
    # Fractions, because a rounded middle of a column could miss an action.
    return _Row(title, [span.label + letter for span, letter in zip(drawn, letters)],
                [Fraction(span.start) for span in drawn], [Fraction(span.end) for span in drawn])


def _letter(number: int) -> str:
    """a, b, ..., z; then aa, ab, ..."""
    high, low = divmod(number, 26)
    return (_letter(high - 1) if high else "") + "abcdefghijklmnopqrstuvwxyz"[low]


def _cell(row: _Row, index: int, column: Fraction) -> str:
    """What a device does in the middle of column `index`."""
    middle = (index + Fraction(1, 2)) * column
    last = bisect_right(row.starts, middle) - 1
    if last < 0 or row.ends[last] <= middle:
        return _IDLE
    return row.labels[last] if row.starts[last] > middle - column else _GOES_ON


def _shown(num_blocks: int, max_blocks: int) -> Tuple[Optional[int], ...]:
    """The blocks to draw; None where some are left out."""
    if num_blocks <= max_blocks:
        return tuple(range(num_blocks))
    head = (max_blocks + 1) // 2
    tail = max_blocks - head
    return tuple(range(head)) + (None,) + tuple(range(num_blocks - tail, num_blocks))


def _text(time: Fraction) -> str:
    return "{:g}".format(float(time))
