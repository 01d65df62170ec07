# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Workers of one machine, whose arrays pass through memory that all of them see.

    backend      the communicator: adds up, and joins, what all have written
    segments     the memory: a file without a name of each worker, which the others open
    mesh         connections over which the workers say what they have written
    joining      how they find each other

Nothing has to be compiled, and no server listens.
"""
