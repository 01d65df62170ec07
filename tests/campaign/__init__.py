# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A campaign of random deaths: jobs of which one worker, or the launcher, dies at a random time.

    python -m tests.campaign --seed 1 --count 100

Every job trains under `epl-launch`, dies, and is started again to its end. What is looked at:

    code        the launcher's exit code is that of the death
    culprit     its last words name the worker that died
    left        processes that are still there a moment after the launcher has ended
    checkpoint  the last one can be read, every variable of it
    same        the variables at the end of the restarted job are those of an undisturbed one, bit
                by bit
    seconds     from the death to the end of the launcher

`training` is the job, `deaths` are the ways to die, `hosts` has jobs of two machines.
"""
