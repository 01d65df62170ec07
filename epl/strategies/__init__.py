# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the user says: which parts of the model run in which way."""

from epl.strategies.replication import Replicate, replicate, set_default_strategy
from epl.strategies.sharding import split

__all__ = ["Replicate", "replicate", "set_default_strategy", "split"]
