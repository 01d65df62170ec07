# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's own collectives, between a server in every worker's process: nothing to compile.

    backend      the communicator
    collectives  exchanges in a graph, all by one operation of TensorFlow
    server       the process's server, on which all of its sessions run
    teams        exchanges between teams of workers that hold model replicas together
    links        TCP between the workers: exchanges outside of graphs, and who is gone

What two workers meet in inside of TensorFlow (`CollectiveReduce`) neither fails for sure nor can be
given up when one of them ends. So the links watch: they notice at once, and end a process whose
step waits in vain.
"""
