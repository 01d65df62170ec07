# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Errors that a user of EPL may want to catch."""

import difflib
from typing import Iterable


class ConfigError(ValueError):
    """A configuration key or value that cannot be used; the message names the cure."""


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


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint naming the valid names closest to `name`, for the end of an error message."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean {}?".format(" or ".join("'{}'".format(c) for c in close))
    return "known: {}".format(", ".join(known))
