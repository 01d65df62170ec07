# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers tell each other outside of training steps, as far as one worker goes.

`horovod_exchange` has the same for several.
"""

from typing import Any, List


class Exchange:
    """The exchange of a worker that is alone; every worker calls the same methods in order."""

    def from_chief(self, number: int) -> int:
        """The chief's `number`, on every worker."""
        return number

    def gather(self, rows: Any) -> Any:
        """The arrays of all workers, joined along axis 0 in the order of workers."""
        return rows

    def session_hooks(self) -> List[Any]:
        """Hooks that give a monitored session the chief's variables when it is made."""
        return []
