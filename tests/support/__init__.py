# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What several tests use: models, training loops, starting jobs."""
