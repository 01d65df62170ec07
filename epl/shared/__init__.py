# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the launcher and its workers both name; needs no TensorFlow.

    progress   the file in which a worker says how far it is
    check      how `epl-launch --check` asks for a check, and what comes of it
    secret     that of a job, and that of machines started by hand
"""
