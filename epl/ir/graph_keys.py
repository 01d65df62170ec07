# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The names of the collections of tensors whose fetched values are merged."""


class GraphKeys:
    """Names of the collections whose tensors are merged when a training step fetches them.

    `GLOBAL_*` merge over the micro-batches and replicas of all workers; `LOCAL_*` over those of
    this worker. `CONCAT` joins along axis 0 in (worker, replica, micro-batch) order; `MEAN` and
    `SUM` work element by element and keep the shape. With R clones in all, a tensor of shape
    [rows, ...] becomes [sum of the clones' rows, ...] under `CONCAT`.

    Attributes:
      GLOBAL_CONCAT_OBJECTS: joined over all workers.
      GLOBAL_MEAN_OBJECTS: the mean over all workers.
      GLOBAL_SUM_OBJECTS: the sum over all workers.
      LOCAL_CONCAT_OBJECTS: joined over the clones of this worker.
      LOCAL_MEAN_OBJECTS: the mean over the clones of this worker.
      LOCAL_SUM_OBJECTS: the sum over the clones of this worker.
      LOCAL: the three of this worker.
      ALL: all six.
    """

    GLOBAL_CONCAT_OBJECTS = "epl_global_concat_objects"
    GLOBAL_MEAN_OBJECTS = "epl_global_mean_objects"
    GLOBAL_SUM_OBJECTS = "epl_global_sum_objects"
    LOCAL_CONCAT_OBJECTS = "epl_local_concat_objects"
    LOCAL_MEAN_OBJECTS = "epl_local_mean_objects"
    LOCAL_SUM_OBJECTS = "epl_local_sum_objects"

    LOCAL = (LOCAL_CONCAT_OBJECTS, LOCAL_MEAN_OBJECTS, LOCAL_SUM_OBJECTS)
    ALL = (GLOBAL_CONCAT_OBJECTS, GLOBAL_MEAN_OBJECTS, GLOBAL_SUM_OBJECTS) + LOCAL
    ALL_COLLECTION_KEYS = list(ALL)
