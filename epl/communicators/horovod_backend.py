# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Horovod: the connection to the other workers and the collectives EPL uses.

Horovod is imported only when there is more than one worker.
"""

import os
import sys
from typing import Any

from epl import compat
from epl.cluster import Cluster
from epl.communicators import arrival, own_name, wire
from epl.errors import ConfigError

# EPL fuses gradients itself, by a fixed plan. Horovod's own fusion depends on timing, and with it
# the order of summation: with it on, two runs on three or more workers need not agree to the bit.
_NO_FUSION = ("HOROVOD_FUSION_THRESHOLD", "0")

_FORBIDDEN = 403  # what the rendezvous says to a wrong secret

_rendezvous_server = None  # kept alive as long as the process


def _hvd() -> Any:
    import horovod.tensorflow as hvd

    return hvd


def _library() -> str:
    """The file of Horovod's own code."""
    from horovod.tensorflow import mpi_ops

    return str(mpi_ops._basics.MPI_LIB_CTYPES._name)


def is_connected() -> bool:
    """True once this process has joined the other workers."""
    return "horovod.tensorflow" in sys.modules and _hvd().is_initialized()


def size() -> int:
    """Number of connected workers."""
    return int(_hvd().size())


def connect(cluster: Cluster) -> None:
    """Join the other workers; does nothing if this process has joined them already.

    Raises:
      ConfigError: Horovod is missing, or connects another number of workers than `cluster` has.
      WorkerLostError: another worker did not come in time.
    """
    try:
        hvd = _hvd()
    except ImportError as error:
        raise ConfigError("{} workers need Horovod with TensorFlow support, but it cannot be "
                          "imported ({}); install it with: bash scripts/setup.sh".format(
                              cluster.worker_num, error)) from error
    if not hvd.is_initialized():
        if "HOROVOD_RANK" not in os.environ:
            _prepare_rendezvous(cluster)
        os.environ.setdefault(*_NO_FUSION)
        own_name.answer_for_library(_library(), os.environ)
        arrival.wait_for_all(os.environ)
        hvd.init()
    if hvd.size() != cluster.worker_num or hvd.rank() != cluster.worker_index:
        raise ConfigError("Horovod connects worker {} of {}, the cluster information says worker "
                          "{} of {}; start all workers with one epl-launch".format(
                              hvd.rank(), hvd.size(), cluster.worker_index, cluster.worker_num))


def _prepare_rendezvous(cluster: Cluster) -> None:
    """Without a launcher (TF_CONFIG only) the chief's own address serves the rendezvous."""
    global _rendezvous_server
    from epl.launcher import secret
    from epl.launcher.rendezvous import Meeting, answer, serve_rendezvous, worker_environment

    if ":" not in cluster.hosts[0]:
        raise ConfigError("{} workers, but neither a launcher's rendezvous nor the chief's "
                          "host:port is known; start the job with epl-launch".format(
                              cluster.worker_num))
    host, port = cluster.hosts[0].rsplit(":", 1)
    names = [address.rsplit(":", 1)[0] for address in cluster.hosts]
    # Nobody can hand a secret of this job to its workers: they have one in common, and the cluster.
    meeting = Meeting(host, int(port), secret.proof(secret.shared(), "rendezvous", *cluster.hosts))
    if cluster.is_chief:
        _rendezvous_server = serve_rendezvous(meeting.port, names, host, meeting.secret)
    elif answer(meeting) == _FORBIDDEN:
        raise ConfigError("the secret of this worker's machine, {}, is not that of the chief's "
                          "({}), or TF_CONFIG has another cluster there; copy the file from there, "
                          "and give all workers one cluster".format(
                              secret.path_of_shared(), cluster.hosts[0]))
    os.environ.update(worker_environment(cluster.worker_index, names, meeting))


def disconnect() -> None:
    """Leave the other workers; whatever they still wait for fails at once."""
    _hvd().shutdown()


def all_reduce(tensor: Any, name: str, average: bool) -> Any:
    """Sum or average `tensor` over all workers.

    Args:
      tensor: same shape and dtype on all workers; see `wire` for types that Horovod lacks.
      name: the name under which the workers meet.
      average: divide by the number of workers.

    Raises:
      TypeError: values of this type cannot be added up.
    """
    hvd = _hvd()
    reduced = _told_apart(hvd.allreduce(
        wire.to_sum(tensor), op=hvd.Average if average else hvd.Sum, name=name), name)
    return wire.from_sum(reduced, tensor.dtype.base_dtype)


def all_reduce_max(tensor: Any, name: str) -> Any:
    """Element-wise maximum of `tensor` over all workers."""
    hvd = _hvd()
    return hvd.allreduce(tensor, op=hvd.Max, name=name)


def all_gather(tensor: Any, name: str) -> Any:
    """Concatenate `tensor` along axis 0 in the order of workers; the first dimension may differ.

    Raises:
      TypeError: values of this type cannot travel.
    """
    every = _told_apart(_hvd().allgather(wire.to_gather(tensor), name=name), name)
    return wire.from_gather(every, tensor.dtype.base_dtype)


def broadcast(tensor: Any, name: str) -> Any:
    """Worker 0's value of `tensor`, of the same shape and type on all, on every worker.

    Raises:
      TypeError: values of this type cannot travel.
    """
    sent = _told_apart(
        _hvd().broadcast(wire.to_gather(tensor), root_rank=0, name=name), name)
    return wire.from_gather(sent, tensor.dtype.base_dtype)


def _told_apart(result: Any, name: str) -> Any:
    """`result`, whose collective TensorFlow does not take for another one of the same input.

    Horovod's operations are not stateful to TensorFlow, which computes two alike once only. Which
    of the two names is left depends on what a worker fetches, so that workers would wait for each
    other under different names (seen with Horovod 0.28.1, TensorFlow 1.15.5).
    """
    compat.set_text_attribute(collective_op(result), "_epl_name", name)
    return result


def collective_op(tensor: Any) -> Any:
    """The Horovod operation behind the result of one of the functions above.

    Averaging and device handling may add operations behind it.
    """
    op = tensor.op
    while not is_collective(op):
        op = op.inputs[0].op
    return op


def is_collective(op: Any) -> bool:
    """True for an operation in which the workers meet."""
    return bool(op.type.startswith("Horovod"))


def combines(op: Any) -> bool:
    """True for an operation whose result is made of what all workers give."""
    return is_collective(op) and op.type != "HorovodBroadcast"
