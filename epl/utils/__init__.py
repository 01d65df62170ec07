# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where scripts of the original EPL look for the launcher and the version."""
