# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The names of the collections of tensors whose fetched values are merged."""


class GraphKeys:
    """Names of the collections.

    `GLOBAL_*` merge over the micro-batches and replicas of all workers; `LOCAL_*` over those of
    this worker. `CONCAT` joins along axis 0 in (worker, replica, micro-batch) order; `MEAN` and
    `SUM` work element by element and keep the shape.
    """

    GLOBAL_CONCAT_OBJECTS = "epl_global_concat_objects"
    GLOBAL_MEAN_OBJECTS = "epl_global_mean_objects"
    GLOBAL_SUM_OBJECTS = "epl_global_sum_objects"
    LOCAL_CONCAT_OBJECTS = "epl_local_concat_objects"
    LOCAL_MEAN_OBJECTS = "epl_local_mean_objects"
    LOCAL_SUM_OBJECTS = "epl_local_sum_objects"

    LOCAL = (LOCAL_CONCAT_OBJECTS, LOCAL_MEAN_OBJECTS, LOCAL_SUM_OBJECTS)
    ALL = (GLOBAL_CONCAT_OBJECTS, GLOBAL_MEAN_OBJECTS, GLOBAL_SUM_OBJECTS) + LOCAL
