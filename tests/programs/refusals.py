# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The errors with which EPL may refuse a random program, each with the programs it may refuse.

A refusal that is not listed here, or of a program that has nothing of what it speaks of, counts as
a crash: look at it, then mend EPL or add a line.
"""

import re
from typing import Any, FrozenSet, Iterator, NamedTuple, Optional, Tuple


class Refusal(NamedTuple):
    """A reviewed error.

    Attributes:
      message: what its text contains, a regular expression.
      of: words of which a program that may be refused so has one.
    """

    message: str
    of: FrozenSet[str]


REVIEWED: Tuple[Refusal, ...] = (
    Refusal("writes a variable from the batch before the gradients are computed",
            frozenset(["update_ops"])),
    # What cannot be followed is computed once more from the whole batch, which is larger.
    Refusal("some number in the graph is the number of rows of one", frozenset(["static"])),
    # Zeros that a network begins with, of as many rows as a part has.
    Refusal("takes the fixed number of rows", frozenset(["recurrent", "static"])),
    # Nobody knows beforehand that the branch is never taken.
    Refusal("adds what goes into a branch of tf.cond to itself", frozenset(["outer"])),
    # The step of one loss takes labels that only another one is fed.
    Refusal("is registered for all workers, and a training step fetches it", frozenset([
        "foreign"])),
    # Nothing of a value is left behind zeros of its shape.
    Refusal("the loss depends on no operation of TaskGraph", frozenset(["zeros", "zeros_like"])),
)


def reviewed(program: Any, error: Exception) -> Optional[str]:
    """The text of the reviewed refusal that `error` is; None if it is none."""
    for refusal in REVIEWED:
        if re.search(refusal.message, str(error)) and refusal.of.intersection(words(program)):
            return refusal.message
    return None


def words(program: Any) -> Iterator[str]:
    """All choices of a program: its texts, and the keys of what is true."""
    if isinstance(program, str):
        yield program
    elif isinstance(program, dict):
        for key, value in program.items():
            if value is True:
                yield key
            yield from words(value)
    elif isinstance(program, list):
        for value in program:
            yield from words(value)
