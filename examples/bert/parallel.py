# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the scripts that use EPL share: its start, and this process's part of the training."""

import argparse
import functools
from typing import Any, Callable, Iterable, List, Optional

import numpy as np

import epl
from epl.communicators.base import Disconnected
from examples.bert import flags as command_line
from examples.bert import loss_curve
from examples.bert.errors import UserError
from examples.bert.exchange import Exchange
from examples.bert.worker import Part, Worker


def init(flags: argparse.Namespace) -> None:
    """Start EPL as the command line says.

    Raises:
      UserError: what EPL refuses.
    """
    try:
        epl.init(epl.Config(command_line.epl_settings(flags)))
    except (epl.ConfigError, NotImplementedError) as error:
        raise UserError(str(error)) from None


def this_worker(stages: int = 1, on_stage: Optional[Callable[[int], None]] = None,
                memory_limit_mb: Optional[int] = None) -> Worker:
    """This process, on all its devices; call `init` first.

    Args:
      stages: devices that one copy of the model takes, one for each stage.
      on_stage: see `Worker`.
      memory_limit_mb: MiB that a device has; None: any number.

    Raises:
      UserError: the devices cannot be divided among whole copies.
    """
    cluster, config = epl.Env.get().cluster, epl.Env.get().config
    if not _lie_on_several_workers(stages):
        check_stages(cluster.gpu_num_per_worker, stages)
    clones = cluster.total_gpu_num * config.pipeline.num_micro_batch
    return Worker(cluster.worker_num, cluster.worker_index, functools.partial(_part, stages),
                  stages, on_stage, _show_mean_of_global_batch,
                  functools.partial(_check_memory, memory_limit_mb),
                  _EplExchange() if cluster.worker_num > 1 else Exchange(),
                  _timeline_hook if clones > 1 else None)


def _lie_on_several_workers(stages: int) -> bool:
    """True if workers whom TensorFlow itself connects share the stages of a copy of the model."""
    context = epl.Env.get().context
    cluster, communicator = context.cluster, context.communicator
    return communicator is not None and communicator.spans \
        and stages % cluster.gpu_num_per_worker == 0 == cluster.total_gpu_num % stages


def check_stages(devices: int, stages: int) -> None:
    """Raises UserError unless copies of a model with so many stages fill a worker's devices."""
    if devices % stages:
        raise UserError(
            "--num_pipe_stages {} needs a multiple of {} devices in each worker, and there are {}; "
            "start with epl-launch --gpu_per_worker {}, or give a number that divides {}".format(
                stages, stages, devices, stages * (devices // stages + 1), devices))


def _part(stages: int, rows: int) -> Part:
    """This worker's part of a global batch, for copies of the model with so many stages."""
    try:
        return epl.global_batch(rows, devices_per_replica=stages)
    except epl.ConfigError as error:
        raise UserError("--train_batch_size {}: {}".format(rows, error)) from None


def _show_mean_of_global_batch(loss: Any) -> None:
    epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)


def _check_memory(limit_mb: Optional[int]) -> None:
    """Say how much memory training will need, before it begins.

    Raises:
      UserError: a device has less.
    """
    predicted = epl.predict_memory()
    if epl.Env.get().cluster.worker_index == 0:
        print("\n".join(predicted.describe()), flush=True)
    for device, memory in predicted.devices:
        needed = -(-memory.total >> 20)
        if limit_mb and needed > limit_mb:
            raise UserError(
                "device {} of worker {} is predicted to need {} MiB, and --memory_limit_mb is {}: "
                "use --gc auto, more --num_micro_batch, a smaller --train_batch_size or "
                "--max_seq_length, --zero v1 with several workers, or more devices with "
                "--num_pipe_stages".format(device.index, device.worker, needed, limit_mb))


class _EplExchange(Exchange):
    """The exchange between the workers that `epl.init` has connected.

    A worker that waits for one that is gone gets an error at once.
    """

    def __init__(self) -> None:
        self._communicator = epl.Env.get().context.connection

    def from_chief(self, array: Any) -> Any:
        given = _exchanged(lambda data: [self._communicator.broadcast_bytes(data)], array)
        return given[0].reshape(array.shape)

    def gather(self, rows: Any) -> Any:
        every = _exchanged(self._communicator.all_gather_bytes, rows)
        return np.concatenate([part.reshape((-1,) + rows.shape[1:]) for part in every])


def _exchanged(exchange: Callable[[bytes], List[bytes]], array: Any) -> List[Any]:
    """What an exchange gives for the content of an array: flat arrays of its type.

    Raises:
      UserError: another worker is gone.
    """
    try:
        every = exchange(array.tobytes())
    except Disconnected as error:
        raise UserError("the connection to the other workers is lost, one of them has ended ({})"
                        .format(error)) from None
    return [np.frombuffer(data, array.dtype) for data in every]


def _timeline_hook(directory: str, steps: Iterable[int]) -> Any:
    from epl import profiler

    return profiler.TimelineHook(directory, list(steps), picture=loss_curve.can_draw())
