# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers against numbers.

What differs only by the order in which 32-bit floats are added is the same. The limit of a tensor:

    1e-5 of its largest value (of a variable: of the largest change that the step made to it)
    + four roundings of a variable's largest value
    + 10 times what plain TensorFlow itself gives otherwise if its inputs differ in the last bit,
      but at most 1e-3 of the largest value

What is beyond it, but within that 10-fold, is sensitive: nobody can say which is right. So is a
gradient that is off by no more than four roundings of the step's largest gradient, because it is
zero but for rounding; and so are then the variable and its slots, for which an optimizer like Adam
divides that rounding by its own size.
"""

from typing import Any, Callable, Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from epl.checking.record import Given, digest

SAME, OWN, SENSITIVE, DIFFERS, UNLIKE = "same", "own", "sensitive", "differs", "unlike"

RELATIVE = 1e-5
_ROUNDINGS = 4
_NOISE = 10.0
_MOST_NOISE = 1e-3


class Row(NamedTuple):
    """How one tensor compares.

    Attributes:
      kind: "fetch", "gradient" or "variable".
      name: the tensor's.
      verdict: SAME; OWN: each worker's value is that of its own rows, all together they are plain
        TensorFlow's; SENSITIVE; DIFFERS; UNLIKE: no numbers of the same shape.
      difference: the largest one between two elements.
      scale: what it is seen relative to: the largest value, or change.
      limit: the largest difference that is the same.
      detail: what there is to add.
    """

    kind: str
    name: str
    verdict: str
    difference: float
    scale: float
    limit: float
    detail: str = ""

    @property
    def relative(self) -> float:
        """The difference relative to the scale."""
        if self.difference == 0:
            return 0.0
        return self.difference / self.scale if self.scale else float("inf")

    @property
    def excess(self) -> float:
        """The difference relative to the limit."""
        if self.difference == 0:
            return 0.0
        return self.difference / self.limit if self.limit else float("inf")


class Expected(NamedTuple):
    """What plain TensorFlow gives.

    Attributes:
      given: the results of its step.
      noise: (kind, name) -> how much of it changes if the step's inputs differ in the last bit.
      before: name of a variable -> digest of its value before the step.
    """

    given: Given
    noise: Dict[Tuple[str, str], float]
    before: Dict[str, str]


def noise(given: Given, shaken: Given) -> Dict[Tuple[str, str], float]:
    """How far the results of two plain steps are apart, whose inputs differ in the last bit."""
    found = {}
    others = entries(shaken)
    for (kind, name), value in entries(given).items():
        values = [value, others[kind, name]]
        if isinstance(value, list):
            values = [dense(parts, _rows(*values)) for parts in values]
        pair = [np.asarray(v) for v in values]
        if all(array.dtype.kind in "fc" for array in pair) and pair[0].shape == pair[1].shape:
            found[kind, name] = _largest(*[_wide(array) for array in pair])
    return found


def entries(given: Given) -> Dict[Tuple[str, str], Any]:
    """(kind, name) -> value, a sparse gradient as [values, indices]."""
    found: Dict[Tuple[str, str], Any] = {("fetch", n): v for n, v in given.fetches.items()}
    for name, parts in given.gradients.items():
        found["gradient", name] = parts if len(parts) > 1 else parts[0]
    found.update({("variable", n): v for n, v in given.variables.items()})
    return found


def compare(found: Given, expected: Expected, before: Dict[str, Any],
            shared: Collection[str], fetches: Sequence[Dict[str, Any]],
            everywhere: Collection[str] = ()) -> List[Row]:
    """Compare what a step of the job gave with what plain TensorFlow gives.

    Args:
      found: of the job.
      expected: of plain TensorFlow.
      before: this worker's variables before the step.
      shared: names of the variables that all workers must hold equal; others are compared where
        they were equal before the step.
      fetches: what every worker fetched.
      everywhere: names of those fetches that are to be the same on all workers.
    """
    rows: List[Row] = []
    own = entries(found)
    for (kind, name), value in entries(expected.given).items():
        if (kind, name) not in own:
            continue
        started = None
        if kind == "variable":
            started = before[name]
            if digest(started) != expected.before[name]:
                if name in shared:
                    rows.append(Row(kind, name, UNLIKE, float("inf"), 0.0, 0.0,
                                    "not the chief's, already before the step"))
                continue
        pair = [own[kind, name], value]
        if isinstance(value, list):
            pair = [dense(parts, _rows(*pair)) for parts in pair]
        noise_of_it = expected.noise.get((kind, name), 0.0)
        row = _compare(kind, name, np.asarray(pair[0]), np.asarray(pair[1]), noise_of_it, started)
        if kind == "fetch" and row.verdict in (DIFFERS, UNLIKE) and len(fetches) > 1:
            values = [f[name] for f in fetches if name in f]
            together = _together(row, values, value, noise_of_it)
            if name not in everywhere:
                row = together
            elif len({digest(v) for v in values}) > 1:
                row = row._replace(detail=together.detail or row.detail)
        rows.append(row)
    return _sensitive(rows, _ROUNDINGS * _largest_rounding(expected.given))


def _sensitive(rows: List[Row], rounding: float) -> List[Row]:
    """`rows`, those SENSITIVE that are off because of gradients off by at most `rounding`."""
    result, owners = [], []
    for row in rows:  # gradients come before variables
        if row.verdict == DIFFERS and row.kind == "gradient" and row.difference <= rounding:
            row = row._replace(verdict=SENSITIVE, detail="zero but for rounding")
        if row.verdict == SENSITIVE and row.kind == "gradient":
            owners.append(row.name.split(" ")[-1].split(":")[0])
        if row.verdict == DIFFERS and row.kind == "variable" and any(
                row.name == owner or row.name.startswith(owner + "/") for owner in owners):
            row = row._replace(verdict=SENSITIVE, detail="as its gradient")
        result.append(row)
    return result


def _largest_rounding(given: Given) -> float:
    """The last bit of the largest gradient of a step."""
    sizes = [_size(_wide(values)) * _precision(values.dtype) for parts in given.gradients.values()
             for values in [np.asarray(parts[0])] if values.dtype.kind not in "iub"]
    return max(sizes, default=0.0)


def _together(row: Row, values: List[Any], expected: Any, noise_of_it: float) -> Row:
    """`row`, or one that says that the workers' values together are plain TensorFlow's."""
    ways: List[Tuple[str, Callable[[List[Any]], Any]]] = [
        ("joined", np.concatenate), ("their mean", lambda v: np.mean(v, 0)),
        ("their sum", lambda v: np.sum(v, 0))]
    for way, join in ways:
        try:
            whole = np.asarray(join(values))
        except (ValueError, TypeError):  # scalars, unequal shapes, texts
            continue
        found = _compare(row.kind, row.name, whole, np.asarray(expected), noise_of_it, None)
        if found.verdict == SAME:
            return found._replace(verdict=OWN, detail="each worker's own rows; {} is plain "
                                                      "TensorFlow's".format(way))
    return row


def dense(parts: List[Any], rows: Any) -> Any:
    """A sparse gradient [values, indices] as an array: the sum of each of `rows`."""
    values, indices = np.asarray(parts[0]), np.asarray(parts[1])
    result = np.zeros((len(rows),) + values.shape[1:], np.float64)
    np.add.at(result, np.searchsorted(rows, indices), values)
    return result


def _rows(*sparse: List[Any]) -> Any:
    return np.unique(np.concatenate([parts[1] for parts in sparse]))


def _compare(kind: str, name: str, found: Any, expected: Any, noise_of_it: float,
             before: Optional[Any]) -> Row:
    if found.shape != expected.shape:
        return Row(kind, name, UNLIKE, float("inf"), 0.0, 0.0, _shapes(found, expected))
    if expected.dtype.kind in "OSU":
        same = bool(np.all(found == expected))
        return Row(kind, name, SAME if same else UNLIKE, 0.0 if same else float("inf"), 0.0, 0.0,
                   "" if same else "other text")
    wide = [_wide(found), _wide(expected)]
    moved = wide if before is None else [array - _wide(np.asarray(before)) for array in wide]
    difference, scale = _largest(*wide), _size(moved[1])
    limit = tolerated = 0.0
    if expected.dtype.kind not in "iub":
        kept = 0.0 if before is None else _ROUNDINGS * _precision(expected.dtype) * _size(wide[1])
        limit = RELATIVE * scale + kept + min(_NOISE * noise_of_it, _MOST_NOISE * scale)
        tolerated = _NOISE * noise_of_it
    verdict = (SAME if difference <= limit else SENSITIVE if difference <= tolerated else DIFFERS)
    detail = _ratio(*moved) if verdict == DIFFERS and difference > 1e-2 * scale else ""
    return Row(kind, name, verdict, difference, scale, limit, detail)


def _wide(array: Any) -> Any:
    return array.astype(complex if array.dtype.kind == "c" else np.float64)


def _precision(dtype: Any) -> float:
    try:
        return float(np.finfo(dtype).eps)
    except ValueError:  # bfloat16
        return 2.0 ** -7


def _largest(one: Any, other: Any) -> float:
    """The largest difference; NaN and infinity are equal to themselves and to nothing else."""
    if not one.size:
        return 0.0
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(one - other))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart)))


def _size(array: Any) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(np.max(finite)) if finite.size else 0.0


def _ratio(found: Any, expected: Any) -> str:
    """Says by which factor all elements differ, if it is one."""
    large = np.abs(expected) > 1e-2 * _size(expected)
    if not np.any(large):
        return ""
    factors = np.real(found[large] / expected[large])
    middle = float(np.median(factors))
    if factors.size == 1 and not _is_whole(middle):
        return ""
    if abs(middle) > 1e-3 and np.all(np.abs(factors - middle) <= 1e-3 * abs(middle)):
        return "{:.4g} times plain TensorFlow's".format(middle)
    return ""


def _is_whole(factor: float) -> bool:
    """True for 2, 3, ... and 1/2, 1/3, ..."""
    large = max(abs(factor), 1 / (abs(factor) or np.inf))
    return large > 1.5 and abs(large - round(large)) < 1e-3 * large


def _shapes(found: Any, expected: Any) -> str:
    text = "shape {}, plain TensorFlow's {}".format(list(found.shape), list(expected.shape))
    rows = len(found) if found.ndim else 0
    if rows and found.ndim == expected.ndim and found.shape[1:] == expected.shape[1:]:
        for first in range(0, len(expected) - rows + 1, rows):
            if np.allclose(found, expected[first:first + rows], rtol=1e-4, atol=1e-6):
                return text + ": rows {} to {} of the batch".format(first, first + rows - 1)
    return text
