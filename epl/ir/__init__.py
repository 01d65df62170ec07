# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What EPL knows of a graph: its TaskGraphs, its collections, what was rewritten."""
