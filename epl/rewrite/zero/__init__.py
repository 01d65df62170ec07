# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `zero`: what an optimizer keeps of a variable is held by one worker, or by each some rows.

    worker 0   g --> update of a, of rows of c --+            +--> a, b, c
                                                 | all_gather |
    worker 1   g --> update of b, of rows of c --+            +--> a, b, c --> train

A worker runs the updates of what it holds, and gets the values of the other variables. State that a
worker does not hold takes no memory there: it has no rows. Variables with much state are divided by
rows, if their update works row by row (`row_slices`), so that no worker holds much more than
another; the others are held by one worker each.

With `v1` a gradient that only some workers need is reduced for these alone (`gradient_parts`). With
`v2` nobody holds more of a parameter than what it updates (`gathered`): there is nothing to send
behind the updates, as the next step begins with that.

What waits for an update waits for the exchange. All of a unit is updated in a run, or nothing. An
update in a `tf.cond` (a step that is skipped) is not divided; the exchange is behind the branch,
and brings what was not updated as well.
(Rajbhandari et al. 2020, ZeRO, https://arxiv.org/abs/1910.02054.)

    record      what is shared out in a graph
    owners      who holds which rows
    exchange    the exchange behind one unit of updates
    carry_out   shares out what is new, checks it, lets assignments outside of steps keep to rows
    asked       what a run fetches and runs instead
"""

from epl.rewrite.zero.asked import asked_for
from epl.rewrite.zero.carry_out import keep_to_rows, share_out, verify
from epl.rewrite.zero.owners import plan
from epl.rewrite.zero.record import Shared, Zero

__all__ = ["Shared", "Zero", "asked_for", "keep_to_rows", "plan", "share_out", "verify"]
