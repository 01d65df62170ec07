# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers tell each other outside of training steps, as far as one worker goes.

`parallel` has the same for several.
"""

from typing import Any


class Exchange:
    """The exchange of a worker that is alone; every worker calls the same methods in order."""

    def from_chief(self, array: Any) -> Any:
        """The chief's array; all workers give one of its shape and type."""
        return array

    def gather(self, rows: Any) -> Any:
        """The arrays of all workers, joined along axis 0 in the order of workers."""
        return rows
