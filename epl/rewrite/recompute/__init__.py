# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing: activations are computed again where the backward pass needs them.

    forward    x --> [ a --> b ] --> c --> [ d --> e ] --> f --> .. --> loss
                                    kept                  kept            |
    backward      <-- [ a' --> b' ] <-- dc <-- [ d' --> e' ] <-- df <-----+
                      copies, fed by x         copies, fed by c

Kept are the checkpoints, and what cannot be computed again: what was drawn, what was read (data,
variables), what a loop or a branch gives. All between them is copied where the backward pass reads
it. The copies of a segment wait until the backward pass of the segment behind has ended; so what
they are copies of is given back meanwhile, and one segment is in memory at a time.

    forward     the operations of the forward pass in an order, and what the backward pass reads
    kept        which tensors are kept: the script's checkpoints, or those that a plan chooses
    copies      builds the copies, and lets the backward pass read them
    checked     compares gradients with those without copies
    carry_out   does so for all gradients of a loss
"""

from epl.rewrite.recompute.carry_out import (
    Recomputed,
    check_fed,
    planned,
    recompute,
    verify_recomputed,
)

__all__ = ["Recomputed", "check_fed", "planned", "recompute", "verify_recomputed"]
