# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's own collectives as a communicator."""

import contextlib
import os
import queue
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.communicators.base import Communicator, Disconnected, Group, Met
from epl.communicators.horovod import arrival
from epl.communicators.native import collectives, links, server
from epl.communicators.native.teams import TeamCommunicator
from epl.communicators.place import own_address, place_of
from epl.errors import ConfigError
from epl.plan.teams import Fold
from epl.shared import progress

_WARM = "_epl_warm"  # the last operation of a session's graph when it was warmed up

# Of a session's configuration, what the server has decided for all of them.
_DECIDED = ("device_count", "gpu_options", "intra_op_parallelism_threads",
            "inter_op_parallelism_threads", "use_per_session_threads",
            "session_inter_op_thread_pool")


# The first byte of what workers send each other outside of graphs.
_MAXIMUM, _GATHER, _BROADCAST = b"m", b"g", b"b"


class NativeCommunicator(Communicator):
    """All workers of a job, connected by TensorFlow's servers and by links of ours."""

    name = "native"
    spans = True

    def __init__(self) -> None:
        super().__init__()
        self._links: Optional[links.Links] = None
        self._server: Any = None
        self._settings = tf.ConfigProto()
        self._keys = collectives.Keys()
        self._warned = False
        self._watch = _Watch()

    # The connection.

    def prepare(self, config: Any) -> None:
        self._settings.CopyFrom(config)

    def connect(self, rank: int, hosts: Sequence[str]) -> None:
        if self._links is None:
            place = place_of(rank, hosts, self.name)
            arrival.wait_for_all(os.environ, communicator=self.name)
            self._watch.start()
            self._links = links.join(place, self._watch.lost)
            self._server = server.start(rank, own_address(place.meeting), self._settings,
                                        self.all_gather_bytes)
        super().connect(rank, hosts)

    @property
    def is_connected(self) -> bool:
        return self._links is not None and not self._links.lost

    def disconnect(self) -> None:
        if self._links is not None:
            self._links.close()

    # Sessions.

    def prepare_session(self, config: Any) -> None:
        config.isolate_session_state = True  # variables are a session's own, as everywhere in EPL
        config.device_filters[:] = server.filters(self.rank)
        config.use_per_session_threads = False  # a server refuses threads of a session's own
        del config.session_inter_op_thread_pool[:]

    def see(self, config: Any, ranks: Sequence[int]) -> None:
        config.device_filters[:] = [each for rank in ranks for each in server.filters(rank)]

    def of_teams(self, teams: Fold) -> Communicator:
        return TeamCommunicator(self, self._keys, teams)

    def session_target(self, target: str, config: Any) -> str:
        if target and not self.serves(tf.compat.as_str_any(target)):
            raise ConfigError(
                "a session is made with the target '{}', but with the communicator 'native' "
                "sessions run on a server of EPL's own: leave the target (master) and the script's "
                "tf.train.Server out".format(target))
        if config is not None and not self._warned:
            self._say_what_has_no_effect(config)
        return str(self._server.target)

    def serves(self, target: str) -> bool:
        return self._server is None or target == self._server.target

    def is_cold(self, session: Any) -> bool:
        known = getattr(session, _WARM, 0)
        last = compat.last_id(session.graph)
        if last == known:
            return False
        if any(map(self.is_collective, compat.operations_from(session.graph, known + 1))):
            return True
        setattr(session, _WARM, last)
        return False

    def warm_up(self, session: Any, run: Callable[[Any, Any], None]) -> None:
        """TensorFlow remembers of each exchange the shape that it has first in a session.

        It compares it with that of other sessions and workers, and never again: so what has no
        static shape begins with one element.
        """
        ops = [op for op in session.graph.get_operations() if self.is_collective(op)]
        last = compat.last_id(session.graph)
        if ops:
            run(ops, {op.inputs[0]: collectives.first_value(op.inputs[0]) for op in ops})
        setattr(session, _WARM, last)

    @contextlib.contextmanager
    def running(self, lost: Callable[[str], None]) -> Iterator[None]:
        with self._watch.running(lost):
            yield

    def broke(self, error: BaseException) -> bool:
        """A step whose exchange has failed leaves the workers' counts of steps apart."""
        op = getattr(error, "op", None)
        return isinstance(error, _OF_EXCHANGES) or (op is not None and (
            self.is_collective(op) or collectives.fails_alike(op)))

    def _say_what_has_no_effect(self, config: Any) -> None:
        fields = [name for name in _DECIDED
                  if getattr(config, name) and getattr(config, name) != getattr(
                      self._settings, name)]
        if fields:
            self._warned = True
            tf.logging.warning(
                "%s of a session's configuration: without effect, as with the communicator "
                "'native' all sessions of a process have the devices and threads that epl.init "
                "gave it", ", ".join(fields))

    # Exchanges in a graph.

    def is_collective(self, op: Any) -> bool:
        return collectives.is_collective(op)

    def combines(self, op: Any) -> bool:
        return collectives.combines(op)

    def _all_reduce(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        return collectives.all_reduce(tensor, name, self._member(group), how)

    def _all_gather(self, tensor: Any, name: str, group: Group) -> Met:
        return collectives.all_gather(tensor, name, self._member(group))

    def _reduce_scatter(self, tensor: Any, name: str, group: Group, how: str) -> Met:
        return collectives.reduce_scatter(tensor, name, self._member(group), how)

    def _broadcast(self, tensor: Any, name: str, group: Group) -> Met:
        return collectives.broadcast(tensor, name, self._member(group))

    def _member(self, group: Group) -> collectives.Member:
        return collectives.Member(self.rank, group, self._keys)

    # Exchanges of the workers' Python code.

    def all_reduce_max(self, numbers: Sequence[int],
                       seconds: Optional[float] = None) -> Optional[List[int]]:
        every = self._connected.exchange(_MAXIMUM + np.array(numbers, "<i8").tobytes(), seconds)
        return None if every is None else [int(number) for number in np.max(
            [np.frombuffer(one, "<i8") for one in _of_kind(_MAXIMUM, every)], 0)]

    def all_gather_bytes(self, data: bytes) -> List[bytes]:
        every = self._connected.exchange(_GATHER + data)
        assert every is not None  # there was no limit in time
        return _of_kind(_GATHER, every)

    def broadcast_bytes(self, data: bytes) -> bytes:
        return _of_kind(_BROADCAST, [self._connected.broadcast(_BROADCAST + data)])[0]

    @property
    def _connected(self) -> links.Links:
        if self._links is None:
            raise Disconnected("this worker has not joined the others")
        return self._links


def _of_kind(kind: bytes, every: List[bytes]) -> List[bytes]:
    """What came, without its first byte, which says for which exchange it was sent.

    Raises:
      Disconnected: a worker came to another one, such as the last at the end of its script.
    """
    if not all(one.startswith(kind) for one in every):
        raise Disconnected("a worker came to another exchange")
    return [one[1:] for one in every]


# What TensorFlow says of an exchange that did not come about.
_OF_EXCHANGES = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
                 tf.errors.DeadlineExceededError)


class _Watch:
    """Ends a process whose step waits for a worker that is gone.

    TensorFlow fails such a step in a second at best, and never at worst. It gets that second.
    """

    def __init__(self) -> None:
        self._due: Any = queue.Queue()  # (when, how to end the process), in the order of time
        self._lock = threading.Lock()
        self._why = ""
        self._end: Optional[Callable[[str], None]] = None

    def start(self) -> None:
        """A thread that waits: when the script has ended, Python 3.12 and later start none."""
        threading.Thread(target=self._wait, daemon=True, name="epl-watch").start()

    @contextlib.contextmanager
    def running(self, end: Callable[[str], None]) -> Iterator[None]:
        with self._lock:
            self._end = end
            if self._why:
                self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._end = None

    def lost(self, why: str) -> None:
        with self._lock:
            self._why = why
            if self._end is not None:
                self._begin()

    def _begin(self) -> None:
        progress.connection_lost()
        self._due.put((time.monotonic() + _SECOND_CHANCE_S, self._end))

    def _wait(self) -> None:
        while True:
            when, end = self._due.get()
            time.sleep(max(0.0, when - time.monotonic()))
            with self._lock:
                waits = self._end is end
            if waits:
                end(self._why)


_SECOND_CHANCE_S = 0.8
