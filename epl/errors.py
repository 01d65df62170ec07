# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors that a user of EPL may want to catch."""

import difflib
from typing import Any, Iterable

_LONGEST_NAME = 100  # longer words are no misspelled names, and slow to compare


class ConfigError(ValueError):
    """A configuration key or value that cannot be used; the message names the cure.

    Examples:
      >>> try:
      ...     epl.Config({"pipeline.num_micro_batch": 0})
      ... except epl.ConfigError as error:
      ...     print(error)
      configuration key 'pipeline.num_micro_batch' = 0 is too small: use 1 or more
    """


class WorkerLostError(RuntimeError):
    """Another worker left the job, or went another way, while this one waited for it.

    Attributes:
      began_here: it was this worker that could not go on; its `__cause__` says why.
    """

    began_here = False


class RewriteError(RuntimeError):
    """The rewritten graph breaks a promise; always a defect, never the user's fault."""


class CheckError(RuntimeError):
    """Why a training step cannot be compared with plain TensorFlow's (see `epl.checking`)."""


def shown(value: Any, limit: int = 80) -> str:
    """`value` as Python writes it, for an error message; see `quoted`."""
    try:
        return quoted(repr(value[:limit] if isinstance(value, (str, bytes)) else value), limit)
    except Exception:  # of any size and kind: some cannot even be written down
        return "a {} that cannot be shown".format(type(value).__name__)


def quoted(text: str, limit: int = 80) -> str:
    """`text` for an error message: on one line, and no longer than `limit` characters."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:limit + 1])
    return text if len(text) <= limit else text[:limit - 3] + "..."


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint naming the valid names closest to `name`, for the end of an error message."""
    known = sorted(names)
    close = difflib.get_close_matches(name[:_LONGEST_NAME], known, n=3, cutoff=0.5)
    if close:
        return "did you mean {}?".format(" or ".join("'{}'".format(c) for c in close))
    return "known: {}".format(", ".join(known))
