# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`epl.split`: tensor parallelism. Not available yet, and it says so."""

from typing import Any, Optional


def split(device_count: Optional[int] = None, name: Optional[str] = None) -> Any:
    """Shard the layers built under this strategy over the devices: not available yet.

    Args:
      device_count: as in the original EPL; not used.
      name: as in the original EPL; not used.

    Returns:
      Nothing: it always raises.

    Raises:
      NotImplementedError: always; this version of EPL has no tensor parallelism.

    Examples:
      >>> epl.split(device_count=2)
      Traceback (most recent call last):
      NotImplementedError: epl.split(device_count=2, name=None) is not available yet in this ...
    """
    raise NotImplementedError(
        "epl.split(device_count={!r}, name={!r}) is not available yet in this version of EPL; "
        "use epl.replicate(device_count=1)".format(device_count, name))
