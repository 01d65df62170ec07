# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the workers tell each other during a check; with one worker nothing is exchanged."""

from typing import Any, List, Optional

import numpy as np

from epl.checking.compare import Expected, entries
from epl.checking.record import Given
from epl.context import Context
from epl.runtime import control_plane

_CHUNK_BYTES = 64 << 20


class Exchange:
    """Every worker calls the same methods in the same order."""

    def __init__(self, context: Context):
        self._chief = context.cluster.is_chief
        self._plane = control_plane.of(context) if context.cluster.worker_num > 1 else None

    def all_gather_object(self, value: Any) -> List[Any]:
        """The value of every worker."""
        return [value] if self._plane is None else self._plane.all_gather_object(value)

    def broadcast_object(self, value: Any) -> Any:
        """The chief's value."""
        return value if self._plane is None else self._plane.broadcast_object(value)

    def expected(self, value: Optional[Expected]) -> Expected:
        """The chief's `Expected`, a piece at a time: it is as large as the model."""
        if self._plane is None:
            assert value is not None
            return value
        found = Given({}, {}, {})
        pieces = list(entries(value.given).items()) if value is not None else []
        rest = (value.noise, value.before) if value is not None else None
        count = self._plane.broadcast_object(len(_chunks(pieces)))
        chunks = _chunks(pieces) if self._chief else [None] * count
        for chunk in chunks:
            for (kind, name), array in self._plane.broadcast_object(chunk):
                if kind == "gradient":
                    found.gradients[name] = array if isinstance(array, list) else [array]
                else:
                    (found.fetches if kind == "fetch" else found.variables)[name] = array
        noise, before = self._plane.broadcast_object(rest)
        return Expected(found, noise, before)


def _chunks(pieces: List[Any]) -> List[Any]:
    """`pieces` in lists of about `_CHUNK_BYTES`."""
    chunks: List[Any] = []
    size = _CHUNK_BYTES
    for piece in pieces:
        if size >= _CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(piece)
        arrays = piece[1] if isinstance(piece[1], list) else [piece[1]]
        size += sum(np.asarray(array).nbytes for array in arrays)
    return chunks
