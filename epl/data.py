# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which rows a worker reads: `epl.shard` and `epl.global_batch`.

    rows of the plain script     0 1 2 3 | 4 5 6 7 | 8 9 10       batches of 4
    worker 0 of 2                0   2   | 4   6   | 8            batches of 2
    worker 1                       1   3 |   5   7 |   9

Worker w of W takes rows w, w + W, w + 2 W, ...: all workers together read the rows of the plain
script's step in the same step. Workers that hold a model replica together read the same rows: they
count as one worker here. All have equally many, so that all come to the end of the data in
the same step, and no worker waits for one that has none left.
"""

from typing import Any, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.env import Env
from epl.errors import ConfigError
from epl.ir.datasets import check_order
from epl.ir.environment import plan_for, remember
from epl.plan.global_batch import GlobalBatch, divide
from epl.plan.layout import lay_out
from epl.plan.teams import fold, spans

_REMAINDERS = ("drop", "pad")
# How many rows of all workers are looked at together; the fewer, the more often a function runs.
_ROWS_TOGETHER = 64


def shard(data: Any, batch: Optional[GlobalBatch] = None, remainder: str = "drop") -> Any:
    """This worker's part of the rows: every W-th of them for W workers, equally many for each.

    As `tf.data.Dataset.shard`, but no worker gets a row more than another, so that all take the
    same number of steps.

    For a dataset do this after `shuffle` (with a seed) and `repeat`, before `batch`; what is costly
    to make (`map`) comes behind it. Nothing has to be known of the number of rows.

    Args:
      data: a `tf.data.Dataset`, an array (rows along axis 0), or a list or tuple of anything, such
        as file names.
      batch: give whole steps of it only, so that every batch of the script is full; None: any
        number of rows for each worker.
      remainder: what becomes of the rows at the end that are too few for a step of `batch`, or for
        one row on each worker: "drop", or "pad", which adds rows from the beginning (of another
        pass over a dataset) until there are enough.

    Returns:
      The same kind, with the same element shapes and types; of an array of shape [rows, ...] one of
      shape [own rows, ...]. `data` itself with one worker and no `batch`.

    Raises:
      ConfigError: a dataset whose order is not the same on all workers, with what draws it; or
        `io.slicing`, which divides files.
      TypeError: no dataset, array, list or tuple; a `batch` that is no `GlobalBatch`.
      ValueError: another `remainder`; rows of which some worker gets none.
      RuntimeError: before `epl.init()`.

    Examples:
      One worker; of two workers the first would get rows 0, 2, 4 and 6 here:

      >>> epl.init()
      >>> batch = epl.global_batch(rows=4)
      >>> epl.shard(np.arange(10), batch)
      array([0, 1, 2, 3, 4, 5, 6, 7])
      >>> epl.shard(["a", "b", "c"], batch, remainder="pad")
      ['a', 'b', 'c', 'a']
    """
    env = Env.get()
    env.require_init("epl.shard")
    if remainder not in _REMAINDERS:
        raise ValueError("remainder = {!r}: 'drop' the rows at the end that are fewer than the "
                         "workers, or 'pad' them from the beginning".format(remainder))
    if batch is not None and not isinstance(batch, GlobalBatch):
        raise TypeError("epl.shard(data, batch) takes what epl.global_batch gives, not {!r}".format(
            batch))
    workers, worker = _share(env, batch)
    if env.context.config.io.slicing and workers > 1:
        raise ConfigError("epl.shard with io.slicing = True: what is read from a worker's own "
                          "files would be divided once more, and most rows be read by nobody; "
                          "leave one of them out")
    unit = workers if batch is None else batch.rows
    if isinstance(data, compat.DATASET_TYPES):
        if unit == 1:
            return data
        if workers > 1:
            check_order(data)
        if remainder == "pad":
            data = data.concatenate(data.repeat().take(unit - 1))
        return _every(data, unit, workers, worker)
    if not isinstance(data, (np.ndarray, list, tuple)):
        raise TypeError("epl.shard takes a tf.data.Dataset, a NumPy array, or a list or tuple of "
                        "rows, not {}".format(type(data).__name__))
    return data if unit == 1 else _every_row(data, unit, workers, worker, remainder)


def global_batch(rows: Optional[int] = None, micro_batch: Optional[int] = None,
                 devices_per_replica: Optional[int] = None) -> GlobalBatch:
    """The rows of a step: how many each clone of the model reads, and which are this worker's.

    Either `rows` or `micro_batch` is given.

    Args:
      rows: rows of a step over all workers, replicas and micro-batches: the batch of the same
        training on one device.
      micro_batch: rows of one micro-batch of one replica, in place of `rows`.
      devices_per_replica: devices of one copy of the model, which for a pipeline is the number of
        its stages (of one device each). None: those that are annotated so far.

    Returns:
      A `GlobalBatch`.

    Raises:
      ConfigError: rows that the clones cannot share equally, or devices that make no whole copies.
      ValueError: both or none of `rows` and `micro_batch`; fewer than 1 row.
      RuntimeError: before `epl.init()`.

    Examples:
      One worker with two devices, so two replicas of a model of one stage:

      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 4}))
      >>> batch = epl.global_batch(rows=64)
      >>> batch.micro_batch, batch.rows_per_worker, batch.steps(1000, epochs=3)
      (8, 64, 46)
    """
    env = Env.get()
    env.require_init("epl.global_batch")
    given = [(name, value) for name, value in (("rows", rows), ("micro_batch", micro_batch))
             if value is not None]
    if len(given) != 1:
        raise ValueError("epl.global_batch takes either rows=... (of a step over all workers) or "
                         "micro_batch=... (of one clone of the model)")
    name, value = given[0]
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError("epl.global_batch({}={!r}): a number of rows, 1 or more".format(
            name, value))
    parts = (env.context.config.pipeline.num_micro_batch,) + _shares(env, devices_per_replica)
    return divide(int(value), *parts) if name == "rows" else GlobalBatch(int(value), *parts)


def _share(env: Env, batch: Optional[GlobalBatch]) -> Tuple[int, int]:
    """(number of shares, this worker's) of rows; workers of one model replica have one share.

    Without a `batch` the graph says whether there are such; what it says later is compared.
    """
    if batch is not None:
        return batch.num_workers, batch.worker_index
    graph, cluster = tf.get_default_graph(), env.context.cluster
    if cluster.worker_num > 1:
        remember(graph, env)
        plan = plan_for(graph)
        if plan is not None and plan.teams is not None:
            return plan.num_workers, plan.teams.team_of(cluster.worker_index)
        env.shared_among_workers = True
    return cluster.worker_num, cluster.worker_index


def _shares(env: Env, devices: Optional[int]) -> Tuple[int, int, int]:
    """(replicas of each worker, workers, this worker) for replicas of so many devices.

    Workers that hold replicas together count as one. None: of those annotated so far.
    """
    context = env.context
    cluster, communicator = context.cluster, context.communicator
    if devices is None:
        graph = tf.get_default_graph()
        remember(graph, env)
        plan = plan_for(graph)
        devices = plan.devices_per_replica if plan is not None else 1
    own, workers, worker = cluster.gpu_num_per_worker, cluster.worker_num, cluster.worker_index
    if devices > 0 and communicator is not None and communicator.spans:
        placements = lay_out([devices], workers, own,
                             context.config.cluster.device_place_prefer_intra_node)
        if spans(placements):
            teams = fold(placements, workers)
            workers, worker, own = len(teams.seats), teams.team_of(worker), len(teams.seats[0])
    replicas, rest = divmod(own, devices) if devices > 0 else (0, 0)
    if rest or not replicas:
        raise ConfigError(
            "devices_per_replica = {} must be 1 or more and divide the {} device(s) of each "
            "worker; epl-launch --gpu_per_worker sets their number".format(devices, own))
    env.replicas_counted_on.add(replicas)
    return replicas, workers, worker


def _every(dataset: Any, unit: int, workers: int, worker: int) -> Any:
    """Every `workers`-th row of `dataset`, of its whole groups of `unit` rows.

    Some groups are looked at together: a group alone would cost more than most rows.
    """
    is_tuple = type(tf.data.get_output_classes(dataset)) is tuple  # its parts come one by one

    def rows_of(*window: Any) -> Any:
        rows = window if is_tuple else window[0]
        if not isinstance(rows, compat.DATASET_TYPES):
            rows = tf.data.Dataset.zip(rows)
        whole = tf.data.experimental.cardinality(rows) // unit
        return rows.shard(workers, worker).take(whole * (unit // workers))

    groups = max(1, _ROWS_TOGETHER // unit)
    return dataset.window(groups * unit).flat_map(rows_of)


def _every_row(data: Any, unit: int, workers: int, worker: int, remainder: str) -> Any:
    """Every `workers`-th row of an array, list or tuple, of whole groups of `unit` rows."""
    count = len(data)
    if count < unit and not (remainder == "pad" and count):
        raise ValueError("{} row(s) are too few: {} worker(s) share {} at a time; give more, or "
                         "remainder='pad'".format(count, workers, unit))
    end = count // unit * unit if remainder == "drop" else -(-count // unit) * unit
    own = [row % count for row in range(worker, end, workers)]
    if isinstance(data, np.ndarray):
        return data[own]
    return type(data)(data[row] for row in own)
