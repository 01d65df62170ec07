# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.split`: tensor parallelism. Not available yet, and it says so."""

from typing import Any, Optional


def split(device_count: Optional[int] = None, name: Optional[str] = None) -> Any:
    """Shard the layers built under this strategy over the devices.

    Raises:
      NotImplementedError: always; this version of EPL has no tensor parallelism.
    """
    raise NotImplementedError(
        "epl.split(device_count={!r}, name={!r}) is not available yet in this version of EPL; "
        "use epl.replicate(device_count=1)".format(device_count, name))
