# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every worker's share of the machine's cores and devices, as a session configuration."""

import os
from typing import Any

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.context import Context
from epl.runtime.precision import set_precision

_USER_SETTINGS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def core_share(local_workers: int) -> int:
    """Cores for each of `local_workers` workers on this machine, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // local_workers)


def _add_virtual_devices(config: Any, cluster: Cluster) -> None:
    """Without GPUs, the worker's devices are CPU devices of the session.

    A configuration that counts fewer means the machine's: Keras's own session counts one.
    """
    needed = cluster.gpu_num_per_worker
    if cluster.device_type != "cpu" or needed == 1:
        return
    config.device_count["CPU"] = max(needed, config.device_count.get("CPU", needed))


def _leave_memory_alone(config: Any, cluster: Cluster) -> None:
    """Without GPUs TensorFlow's memory optimizer finds nothing to swap, and looks long.

    What it looks at are all clones, in the first step; the values are the same to the bit.
    """
    optimizers = config.graph_options.rewrite_options
    if cluster.device_type == "cpu" and optimizers.memory_optimization == \
            optimizers.DEFAULT_MEM_OPT:
        optimizers.memory_optimization = optimizers.NO_MEM_OPT


def session_config(config: Any, context: Context) -> Any:
    """The user's session configuration completed with what the cluster asks for.

    Args:
      config: a `tf.ConfigProto` or None; it is not changed.
      context: what the session's graph is trained under.

    Returns:
      `config` itself if there is nothing to add, else a copy. What the user has set stays.
    """
    result = tf.ConfigProto()
    if config is not None:
        result.CopyFrom(config)
    _add_virtual_devices(result, context.cluster)
    visible = context.config.cluster.run_visible_devices
    if visible and not result.gpu_options.visible_device_list:
        result.gpu_options.visible_device_list = visible
    share = core_share(context.cluster.local_worker_num)
    shared = context.cluster.local_worker_num > 1 or (context.cluster.worker_num > 1 and share == 1)
    if shared and not any(n in os.environ for n in _USER_SETTINGS):
        if not result.intra_op_parallelism_threads:
            result.intra_op_parallelism_threads = share
        if not result.inter_op_parallelism_threads:
            # Never fewer than two: an operation that blocks must not hold up the one it waits for.
            result.inter_op_parallelism_threads = max(2, share)
    _leave_memory_alone(result, context.cluster)
    set_precision(result, context.config, context.cluster)
    if context.communicator is not None:
        context.communicator.prepare_session(result)
    return config if result == (config or tf.ConfigProto()) else result
