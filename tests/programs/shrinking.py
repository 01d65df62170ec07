# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Make a failing program smaller: leave out and simplify what it fails without."""

import copy
from typing import Any, Callable, Iterator

# What a word is replaced by, and words of nested functions.
SIMPLEST = {
    "dtype": "float64", "input": "placeholders", "session": "plain", "variables": "all",
    "schedule": "preferbackward", "workers": 1, "stages": 1, "replicas": 1, "micro_batches": 1,
    "back": 0, "inner": 0, "activation": "linear", "optimizer": "sgd", "rate": "constant",
    "style": "compute", "clip": "none", "weight": 1.0, "of": "last", "times": "1",
    "predicate": "always", "lookup": "lookup", "combine": "mean", "table": "table0",
    "variable": "outside", "cell": "basic", "how": "rate", "when": "after",
}
_FUNCTIONS = ("true", "false", "body", "function")


def shrink(program: Any, fails: Callable[[Any], bool], most: int = 200) -> Any:
    """A smaller program for which `fails(program)` is true; it is called `most` times at most."""
    number, since = 0, 0  # of the next candidate; how many in turn did not fail
    for _ in range(most):
        candidates = list(_simpler(program))
        if since >= len(candidates):
            break
        number %= len(candidates)
        if fails(candidates[number]):
            program, since = candidates[number], 0
        else:
            number, since = number + 1, since + 1
    return program


def _simpler(program: Any) -> Iterator[Any]:
    """Programs with one thing less, those with much less first."""
    for path, value in list(_walk(program, ())):
        for replacement in _replacements(path, value, program):
            smaller = copy.deepcopy(program)
            _at(smaller, path[:-1])[path[-1]] = replacement
            if _is_sound(smaller):
                yield smaller


def _walk(value: Any, path: Any) -> Iterator[Any]:
    """(path, value) of everything inside, the outer before the inner."""
    items = list(value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()))
    for key, inner in items:
        yield path + (key,), inner
    for key, inner in items:
        yield from _walk(inner, path + (key,))


def _replacements(path: Any, value: Any, program: Any) -> Iterator[Any]:
    key = path[-1]
    if isinstance(value, list):
        for number in range(len(value)):
            yield value[:number] + value[number + 1:]
    elif key in _FUNCTIONS and isinstance(value, dict):
        if value["kind"] != "identity":
            yield {"kind": "identity"}
            yield from (value[inner] for inner in _FUNCTIONS if inner in value)
    elif isinstance(value, bool):
        if value:
            yield False
    elif key in SIMPLEST and value != SIMPLEST[key] and isinstance(value, type(SIMPLEST[key])):
        yield SIMPLEST[key]


def _at(value: Any, path: Any) -> Any:
    for key in path:
        value = value[key]
    return value


def _is_sound(program: Any) -> bool:
    layout = program["layout"]
    return (bool(program["losses"]) and all(spec["parts"] for spec in program["losses"])
            and all(len(spec.get("branches", "abc")) == 3 for spec in program["blocks"])
            and layout["stages"] <= len(program["blocks"]) + 1)
