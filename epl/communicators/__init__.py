# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything that travels between workers.

    base           `Group`, `Communicator`: what EPL asks of a communicator
    registry       communicators by their names
    through_graph  what travels outside of the script's graph, by a communicator's own operations
    link           direct connections, for the few numbers on which workers agree before a step
    through_python communicators that exchange arrays in Python
    values         plain values of Python as bytes
    wire           how element types travel that a communicator does not carry
    loopback       the workers are threads of one process
    horovod/       Horovod: its operations, errors, environment variables and meeting place
    native/        TensorFlow's own collectives, and TCP beside them
"""
