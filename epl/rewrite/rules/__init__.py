# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each kind of operation makes of rows of the batch (see `relations`), a module per idea.

`RULES` has a function for each type of operation: (operation, relations of what it takes) to the
relations of what it gives. The others are asked beside it.
"""

from epl.rewrite.rules import axes, lookups, sums
from epl.rewrite.rules.arrays import of_row, stacks_rows
from epl.rewrite.rules.lists import mask_of, of_entries
from epl.rewrite.rules.registry import RULES
from epl.rewrite.rules.reshapes import joins_rows
from epl.rewrite.rules.shapes import of_static_shape
from epl.rewrite.rules.sums import takes_first
from epl.rewrite.rules.values import drawn

__all__ = ["RULES", "axes", "drawn", "joins_rows", "lookups", "mask_of", "of_entries", "of_row",
           "of_static_shape", "stacks_rows", "sums", "takes_first"]
