# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Training scripts that show EPL at work."""
