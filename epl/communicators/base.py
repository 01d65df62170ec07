# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What EPL asks of a communicator: exchanges in a graph, and between the workers' Python code.

    in the graph     all_reduce, all_gather, reduce_scatter, broadcast, send, receive
    outside of it    all_reduce_max, all_gather_object, broadcast_object

An exchange in a graph adds operations to it; those who take part meet under a name when they run.
All of a group run it, in whatever order they come to several of them. The result comes with a
`Collective`, the record of what was added.

An implementation overrides the methods that begin with an underscore, as far as it can. One that it
lacks is refused with its name and the cure.
"""

import contextlib
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from epl.communicators import values
from epl.errors import ConfigError
from epl.plan.teams import Fold

SUM, MEAN, MAX = "sum", "mean", "max"

# What `_all_reduce` and its like give: the result, and the operation in which the workers meet.
Met = Tuple[Any, Any]


class Group(NamedTuple):
    """Workers that exchange with one another.

    Attributes:
      axis: what they have in common: "workers" are all of the job.
      ranks: their ranks in the job, ascending.
    """

    axis: str
    ranks: Tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of workers in it."""
        return len(self.ranks)


def all_workers(number: int) -> Group:
    """The group of all workers of a job."""
    return Group("workers", tuple(range(number)))


class Collective(NamedTuple):
    """One operation that exchanges data with other workers.

    Attributes:
      op: the TensorFlow operation in which they meet.
      kind: "all_reduce", "all_gather", "reduce_scatter", "broadcast", "send" or "receive".
      name: the name under which they meet; unique in the graph.
      dtype: name of the element type.
      shape: static shape of what this worker gives, as text.
      group: who takes part.
    """

    op: Any
    kind: str
    name: str
    dtype: str
    shape: str
    group: Group = Group("workers", ())

    def describe(self) -> str:
        """Kind, name, type and shape, on a line."""
        return "{} {} {}{}".format(self.kind, self.name, self.dtype, self.shape)


Exchanged = Tuple[Any, Collective]  # the result, and what was added for it


class Disconnected(RuntimeError):
    """The connection to the other workers is lost; the text says why, in one line."""


class Communicator:
    """Connects the workers of a job.

    An implementation overrides what it has; a call that it lacks raises NotImplementedError with
    its name. The exchanges are the collective operations of MPI (mpi-forum.org).

    Attributes:
      name: that of its row in the registry.
      group: all workers of the job, once it is connected.
      rank: this worker's.
      spans: a session's graph may lie on several workers (see `see`).
      most_waiting: exchanges of the gradients of a loss that may wait for others at a time, in the
        same order on all workers; None: any number.
    """

    name = ""
    spans = False
    most_waiting: Optional[int] = None

    def __init__(self) -> None:
        self.group = all_workers(1)
        self.rank = 0

    # The connection.

    def prepare(self, config: Any) -> None:
        """Called before `connect`: devices and threads that this worker's sessions are to have.

        Args:
          config: a `tf.ConfigProto`.
        """

    def connect(self, rank: int, hosts: Sequence[str]) -> None:
        """Join the other workers; does nothing if they are joined already.

        Args:
          rank: this worker's.
          hosts: `host` or `host:port` of every worker, in the order of ranks.

        Raises:
          ConfigError: they cannot be joined, and why.
          WorkerLostError: another worker did not come in time.
        """
        self.rank, self.group = rank, all_workers(len(hosts))

    @property
    def size(self) -> int:
        """Number of connected workers."""
        return self.group.size

    @property
    def is_connected(self) -> bool:
        """True from `connect` on, until `disconnect`."""
        raise NotImplementedError(self._lacks("is_connected"))

    def disconnect(self) -> None:
        """Leave the other workers; whatever they still wait for fails at once."""
        raise NotImplementedError(self._lacks("disconnect"))

    def leave(self) -> Optional[List[int]]:
        """Disconnect while an `all_reduce_max` is under way that nobody waits for any more.

        Returns:
          Its result, if it has come after all.
        """
        self.disconnect()
        return None

    def prepare_session(self, config: Any) -> None:
        """Set in a session's `tf.ConfigProto` what exchanges in its graph need.

        Args:
          config: it; changed in place.
        """

    def session_target(self, target: str, config: Any) -> str:
        """Where a session runs whose graph may have exchanges.

        Args:
          target: where the script wants it to run; "": in its own process, as nearly always.
          config: the script's `tf.ConfigProto`, or None.

        Raises:
          ConfigError: exchanges cannot run there.
        """
        return target

    def see(self, config: Any, ranks: Sequence[int]) -> None:
        """Let a session have the devices of several workers.

        Args:
          config: its `tf.ConfigProto`; changed in place.
          ranks: whose.
        """
        raise NotImplementedError(self._lacks("see"))

    def of_teams(self, teams: Fold) -> "Communicator":
        """What connects teams of workers that hold model replicas together, like workers.

        Args:
          teams: who they are; its ranks are their numbers.
        """
        raise NotImplementedError(self._lacks("of_teams"))

    def serves(self, target: str) -> bool:
        """True if exchanges can run in a session with this target."""
        return True

    def is_cold(self, session: Any) -> bool:
        """True if `session` has exchanges that all workers have to run in a `warm_up` first."""
        return False

    def warm_up(self, session: Any, run: Callable[[Any, Any], None]) -> None:
        """Called on all workers together if the session of one of them is cold.

        Args:
          session: this worker's.
          run: runs operations in it, with what it is fed; nothing of EPL takes part in that.
        """

    @contextlib.contextmanager
    def running(self, lost: Callable[[str], None]) -> Iterator[None]:
        """Around a run with exchanges.

        Args:
          lost: ends the process, with what is known of the worker that is gone; called if the run
            would not come back.
        """
        yield

    def broke(self, error: BaseException) -> bool:
        """True if a run with exchanges failed in a way after which no further one is safe."""
        return False

    # Exchanges in a graph.

    def all_reduce(self, tensor: Any, name: str, group: Group, how: str = SUM) -> Exchanged:
        """The sum, mean or maximum of `tensor` over a group, on all of it.

        Args:
          tensor: of the same shape and dtype on all.
          name: the name under which they meet.
          group: who takes part.
          how: SUM, MEAN or MAX.

        Returns:
          A tensor of the same shape and dtype, and what was added to the graph.

        Raises:
          TypeError: values of this type cannot be reduced.
        """
        return self._record("all_reduce", tensor, name, group,
                            self._all_reduce(tensor, name, group, how))

    def all_gather(self, tensor: Any, name: str, group: Group) -> Exchanged:
        """The tensors of a group one after the other along axis 0, in the order of ranks.

        Args:
          tensor: of the same dtype on all; the first dimensions may differ.
          name: the name under which they meet.
          group: who takes part.

        Returns:
          A tensor of shape [rows of all, ...], and what was added to the graph.

        Raises:
          TypeError: values of this type cannot travel.
        """
        return self._record("all_gather", tensor, name, group,
                            self._all_gather(tensor, name, group))

    def reduce_scatter(self, tensor: Any, name: str, group: Group, how: str = SUM) -> Exchanged:
        """This worker's rows of the sum or mean of `tensor` over a group.

        Of n rows and k members the first n % k get one row more than the others, in the order of
        ranks.

        Args:
          tensor: of the same shape and dtype on all, with at least one dimension.
          name: the name under which they meet.
          group: who takes part.
          how: SUM or MEAN.

        Returns:
          A tensor of shape [own rows, ...], and what was added to the graph.

        Raises:
          TypeError: values of this type cannot be added up.
          ValueError: a number without rows.
        """
        if tensor.shape.ndims == 0:
            raise ValueError("{} has no rows that {} workers could share".format(
                tensor.name, group.size))
        return self._record("reduce_scatter", tensor, name, group,
                            self._reduce_scatter(tensor, name, group, how))

    def broadcast(self, tensor: Any, name: str, group: Group) -> Exchanged:
        """The first member's value of `tensor` on all of a group.

        Args:
          tensor: of the same shape and dtype on all.
          name: the name under which they meet.
          group: who takes part; the first of its ranks gives.

        Returns:
          A tensor of the same shape and dtype, and what was added to the graph.
        """
        return self._record("broadcast", tensor, name, group,
                            self._broadcast(tensor, name, group))

    def send(self, tensor: Any, name: str, to: int) -> Collective:
        """Give `tensor` to another worker, which receives it under this name.

        Args:
          tensor: of any shape.
          name: the name under which they meet.
          to: the rank of the other worker.

        Returns:
          What was added to the graph.
        """
        group = Group("pair", tuple(sorted((self.rank, to))))
        return self._record("send", tensor, name, group, self._send(tensor, name, to))[1]

    def receive(self, dtype: Any, shape: Any, name: str, source: int) -> Exchanged:
        """What another worker sends under this name.

        Args:
          dtype: of what comes.
          shape: of what comes; the whole of it, as nothing says it at run time.
          name: the name under which they meet.
          source: the rank of the other worker.

        Returns:
          A tensor of that shape and dtype, and what was added to the graph.
        """
        group = Group("pair", tuple(sorted((self.rank, source))))
        met = self._receive(dtype, shape, name, source)
        return self._record("receive", met[0], name, group, met)

    def is_collective(self, op: Any) -> bool:
        """True for an operation in which workers meet.

        Args:
          op: a `tf.Operation`.
        """
        raise NotImplementedError(self._lacks("is_collective"))

    def combines(self, op: Any) -> bool:
        """True for one whose result is made of what all of its group give, the same for all.

        Args:
          op: a `tf.Operation`.
        """
        raise NotImplementedError(self._lacks("combines"))

    # Exchanges of the workers' Python code. All workers of the job enter them in the same order.

    def all_reduce_max(self, numbers: Sequence[int],
                       seconds: Optional[float] = None) -> Optional[List[int]]:
        """Element-wise maximum of `numbers` (64-bit integers) over all workers.

        Args:
          numbers: equally many on all.
          seconds: how long to wait for the others, in seconds; None: as long as it takes.

        Returns:
          The maximum, or None if the others did not come in time.

        Raises:
          Disconnected: they never will.
        """
        raise NotImplementedError(self._lacks("all_reduce_max"))

    def all_gather_bytes(self, data: bytes) -> List[bytes]:
        """What every worker gives, in the order of ranks.

        Args:
          data: what this one gives; of any length.

        Raises:
          Disconnected: one of them is gone.
        """
        raise NotImplementedError(self._lacks("all_gather_bytes"))

    def broadcast_bytes(self, data: bytes) -> bytes:
        """What worker 0 gives.

        Args:
          data: what this worker gives; ignored but on worker 0.

        Raises:
          Disconnected: one of them is gone.
        """
        raise NotImplementedError(self._lacks("broadcast_bytes"))

    def all_gather_object(self, value: Any) -> List[Any]:
        """The `value` of every worker, plain data (see `values`), in the order of ranks."""
        return [_decoded(data, "worker {}".format(rank))
                for rank, data in enumerate(self.all_gather_bytes(values.encode(value)))]

    def broadcast_object(self, value: Any) -> Any:
        """Worker 0's `value`, plain data; what other workers pass is ignored."""
        return _decoded(self.broadcast_bytes(values.encode(value)), "the chief")

    # For implementations.

    def _all_reduce(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        raise NotImplementedError(self._lacks("all_reduce"))

    def _all_gather(self, tensor: Any, name: str, group: Group) -> Met:
        raise NotImplementedError(self._lacks("all_gather"))

    def _reduce_scatter(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        raise NotImplementedError(self._lacks("reduce_scatter"))

    def _broadcast(self, tensor: Any, name: str, group: Group) -> Met:
        raise NotImplementedError(self._lacks("broadcast"))

    def _send(self, tensor: Any, name: str, to: int) -> Met:
        raise NotImplementedError(self._lacks("send"))

    def _receive(self, dtype: Any, shape: Any, name: str, source: int) -> Met:
        raise NotImplementedError(self._lacks("receive"))

    def _lacks(self, call: str) -> str:
        return ("the communicator '{}' has no {}: choose one that has it with the configuration "
                "key communication.communicator".format(self.name, call))

    @staticmethod
    def _record(kind: str, source: Any, name: str, group: Group, met: Met) -> Exchanged:
        shape = str(source.shape.as_list()) if source.shape.ndims is not None else "[unknown]"
        result, op = met
        return result, Collective(op, kind, name, source.dtype.base_dtype.name, shape, group)


def rows_of_member(rows: int, position: int, size: int) -> Tuple[int, int]:
    """(first, number) of the rows that the member at `position` of `size` gets of `rows`."""
    each, more = divmod(rows, size)
    return position * each + min(position, more), each + (position < more)


def unreadable(who: str, why: Any) -> ConfigError:
    """The error for what `who` sent and nobody can read."""
    return ConfigError("what {} sent cannot be read ({}); start all workers with one version of "
                       "EPL".format(who, why))


def _decoded(data: bytes, who: str) -> Any:
    try:
        return values.decode(data)
    except ValueError as error:
        raise unreadable(who, error) from None
