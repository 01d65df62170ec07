# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens while a script runs: sessions, agreement between workers, who writes what."""
