# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes beyond which a number is a mistake: far above what anybody runs, far below what hangs."""

MAX_WORKERS = 65536
MAX_DEVICES = 4096  # of one worker
MAX_MICRO_BATCHES = 10000
MAX_SPLITS = 1000000  # of what is fused
MAX_SECONDS = 1e9  # thirty years; time-outs of the operating system end not far beyond
