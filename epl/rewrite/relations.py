# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How a tensor of one clone relates to that of the whole batch.

    SHARED        the same whatever the batch is
    SAME          computed from the batch, but equal in every clone: a number of columns
    Rows(axis)    holds the rows that the clone works on along this axis: the whole one is joined
    Reduced(how)  one value for the clone's rows; those of the clones are averaged, added, ...
    Row(frame)    what a loop makes of one of the clone's rows, the one that this turn is about
    ShapeOf(axis) the shape of a tensor with rows along this axis
    LISTED        a value for each entry of the clone's rows, where these are lists, or chosen
    FORM          the shape of what is LISTED
    Places(full)  the coordinates of these entries; RowOf(full): their rows, counted by each clone
    PER_ROW       a TensorArray that has an element for each of the clone's rows
    POSITIONS     numbers the clone's rows, or follows from such numbers: each clone begins anew
    UNKNOWN       anything else

Told from the kinds of operations, from what they take, and from static shapes. An operation that is
not known here makes its result UNKNOWN, which costs time, never correctness: what is UNKNOWN is
computed once more, from what is known of the whole batch. A clone's rows that were computed with a
statistic of its own batch (batch normalisation) are rows like others.
"""

from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Rows:
    """The clone's rows lie along `axis` (0-based)."""

    axis: int


@dataclass(frozen=True)
class Reduced:
    """One value for all of a clone's rows; `how` the values of clones give that of the batch."""

    how: str  # "mean", "sum", "max", "min", "prod", "all" or "any"


@dataclass(frozen=True)
class ShapeOf:
    """The shape of a tensor with rows along `axis`, [rank]."""

    axis: int


@dataclass(frozen=True)
class Row:
    """Follows from that row alone which a turn of a v1 loop is about; `frame` is the loop."""

    frame: str


@dataclass(frozen=True)
class Places:
    """Coordinates of entries, in the order of the rows, which the first column counts.

    `full`: every row has an entry.
    """

    full: bool


@dataclass(frozen=True)
class RowOf:
    """The row that each entry belongs to, as each clone counts its own; `full` as in `Places`."""

    full: bool


@dataclass(frozen=True)
class Elements:
    """The flow of a TensorArray: what each of its elements is.

    `of` is the relation of an element, `EACH` where it is one of the clone's rows, None while the
    array is empty.
    """

    of: Any


@dataclass(frozen=True)
class Plain:
    """A relation without parameters."""

    name: str


EACH = Plain("each")
FORM = Plain("form of entries")
LISTED = Plain("listed")
PER_ROW = Plain("per row")
SHARED = Plain("shared")
SAME = Plain("same")
POSITIONS = Plain("positions")
UNKNOWN = Plain("unknown")
Relation = Union[Plain, Rows, Reduced, Row, ShapeOf, Places, RowOf, Elements]
Mergeable = Union[Rows, Reduced]  # one value can be made of those of the parts

COUNT = Reduced("sum")  # of rows
