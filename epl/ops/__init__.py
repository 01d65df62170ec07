# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""An optimizer, and layers between parts that are parallel in different ways."""
