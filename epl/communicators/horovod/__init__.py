# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Horovod, with Gloo.

    backend      the communicator
    arrival      waiting for the other workers before Horovod connects them
    own_name     a machine whose own name stands for no address
    rendezvous   where workers find each other: in the launcher, or in the chief
    store        what answers there
    variables    the environment variables by which Horovod's runners place a worker

`rendezvous`, `store` and `variables` need no TensorFlow; the launcher uses them.
"""
