# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Waiting in `epl.init` for the other workers, before Horovod connects them.

Gloo gives workers 30 s to connect, and ends the process of who was early from within C++. So the
workers first come together here, in Python, however long one of them takes to load its data, and
connect when all are there:

    worker 1   note "1" | all there? | all there? | all there? | connect
    worker 0             note "0" | 1 is there, 2? | 2? | note "all" | connect
    worker 2                                       note "2" | all there? | connect

The notes are in the key-value store of the rendezvous. Who is missing is said every ten seconds by
the first worker of those that are there.
"""

import http.client
import os
import sys
import time
from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple

from epl.communicators import starters
from epl.communicators.horovod import rendezvous, variables
from epl.errors import ConfigError, WorkerLostError, quoted
from epl.shared import secret

LIMIT_VARIABLE = "EPL_START_TIMEOUT"
DEFAULT_LIMIT_S = 600.0
SAY_EVERY_S = 10.0

_SCOPE = "epl_arrival"
_ALL = "all"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.3
_REQUEST_S = 5.0
_FORBIDDEN = 403  # what the rendezvous says to a wrong secret

_served: List[Any] = []  # a rendezvous lives as long as the process


class NoStore(Exception):
    """The rendezvous is another one than EPL's, and keeps no notes."""


class Store:
    """The notes of a job.

    Args:
      address, port: the values of the variables by which Horovod finds the rendezvous. It puts them
        together as they are, with a colon between, to the beginning of its URLs; so does this.
    """

    def __init__(self, address: str, port: str):
        self._where, slash, rest = "{}:{}".format(address, port).partition("/")
        self._path = slash + rest

    def put(self, name: str, value: bytes = b"1") -> bool:
        """Leave a note; False if the rendezvous does not answer (yet).

        Raises:
          NoStore: it does not take notes.
          ConfigError: it takes none from here.
        """
        status = self._ask("PUT", name, value)[0]
        if status == _FORBIDDEN:
            raise ConfigError("the rendezvous at {} is that of another job; start all workers of "
                              "this one together (without epl-launch: as one job, with one secret "
                              "in {})".format(self._where, secret.path_of_shared()))
        if status not in (None, 200):
            raise NoStore()
        return status is not None

    def has(self, name: str) -> bool:
        """Whether the note is there."""
        return self._ask("GET", name)[0] == 200

    def get(self, name: str) -> Optional[bytes]:
        """What the note says; None if it is not there."""
        status, value = self._ask("GET", name)
        return value if status == 200 else None

    def _ask(self, method: str, name: str, value: bytes = b"") -> Tuple[Optional[int], bytes]:
        """The status and the body of the answer."""
        connection = http.client.HTTPConnection(self._where, timeout=_REQUEST_S)
        try:
            connection.request(method, "{}/{}/{}".format(self._path, _SCOPE, name),
                               body=value if method == "PUT" else None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""  # the chief is not there yet, or has much to do
        finally:
            connection.close()


def _say(text: str) -> None:
    sys.stderr.write(text)


def wait_for_all(environ: Mapping[str, str], say: Callable[[str], None] = _say,
                 communicator: str = "horovod") -> None:
    """Come back when all workers have called this; at once where there is no rendezvous.

    Args:
      environ: the variables by which Horovod finds the rendezvous.
      say: writes who is missing.
      communicator: by what this worker is about to connect.

    Raises:
      ConfigError: `EPL_START_TIMEOUT` is no number, the rendezvous is that of another job, or the
        chief is about to connect by another communicator.
      WorkerLostError: a worker did not come in time.
    """
    limit = _limit(environ)
    address = environ.get(variables.RENDEZVOUS_ADDR)
    if not address:
        return
    store = Store(address, environ[variables.RENDEZVOUS_PORT])
    try:
        _Arrival(store, int(environ[variables.RANK]), int(environ[variables.SIZE]), limit,
                 say, communicator).wait()
    except NoStore:
        return
    chiefs = (store.get("0") or communicator.encode()).decode("ascii", "replace")
    if chiefs != communicator:
        raise ConfigError("the chief is about to connect by '{}', worker {} by '{}'; set "
                          "communication.communicator to one of them on all".format(
                              quoted(chiefs), environ[variables.RANK], communicator))


def prepare_rendezvous(rank: int, hosts: Sequence[str]) -> None:
    """Without a launcher of ours the chief's own address serves the rendezvous.

    Args:
      rank: of this worker, which gets the variables of a launcher.
      hosts: `host:port` of every worker.

    Raises:
      ConfigError: the address is not known, or this worker is not of that job.
    """
    if ":" not in hosts[0]:
        raise ConfigError("{} workers, but neither a launcher's rendezvous nor the chief's "
                          "host:port is known; start the job with epl-launch".format(len(hosts)))
    host, port = hosts[0].rsplit(":", 1)
    names = [address.rsplit(":", 1)[0] for address in hosts]
    # Nobody can hand a secret of this job to its workers: they have one in common, and the cluster.
    facts = starters.job(os.environ) + list(hosts)
    meeting = rendezvous.Meeting(
        host, int(port), secret.proof(secret.shared(), "rendezvous", *facts))
    if rank == 0:
        _served.append(rendezvous.serve_rendezvous(meeting.port, names, host, meeting.secret))
    elif rendezvous.answer(meeting) == _FORBIDDEN:
        raise ConfigError("the secret of this worker's machine, {}, is not that of the chief's "
                          "({}), or its environment (TF_CONFIG, that of its starter) describes "
                          "another job; copy the file from there, and start all workers as one job"
                          .format(secret.path_of_shared(), hosts[0]))
    os.environ.update(rendezvous.worker_environment(rank, names, meeting))


def _limit(environ: Mapping[str, str]) -> Optional[float]:
    """How long to wait, in seconds. Under `epl-launch` that is the launcher's business."""
    text = environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text) if text else None
    except ValueError:
        limit = -1.0
    if limit is not None and not limit > 0.0:
        raise ConfigError("{} = {!r}: a number of seconds above 0 is needed".format(
            LIMIT_VARIABLE, text[:50]))
    if limit is None and "EPL_NUM_WORKERS" not in environ:
        return DEFAULT_LIMIT_S
    return limit


class _Arrival:
    """One worker's wait; see `wait_for_all`."""

    def __init__(self, store: Store, rank: int, size: int, limit: Optional[float],
                 say: Callable[[str], None], communicator: str = "horovod"):
        self._note = communicator.encode()
        self._store, self._rank, self._size = store, rank, size
        self._limit, self._say = limit, say
        self._missing: List[int] = []  # as far as worker 0 knows

    def wait(self) -> None:
        begin, pause = time.monotonic(), _FIRST_PAUSE_S
        next_word = begin + SAY_EVERY_S
        self._missing = list(range(self._size))
        noted = False
        while True:
            noted = noted or self._store.put(str(self._rank), self._note)
            if noted and self._all_are_there():
                return
            now = time.monotonic()
            if self._limit is not None and now - begin > self._limit:
                raise WorkerLostError(
                    "{} did not come to epl.init in {:g} s ({}); start all workers of the job, or "
                    "wait longer".format(_names(self._look()), self._limit, LIMIT_VARIABLE))
            if now >= next_word:
                next_word += SAY_EVERY_S
                self._say_who_is_missing(now - begin)
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 1.5 * pause)

    def _all_are_there(self) -> bool:
        if self._rank != 0:
            return self._store.has(_ALL)
        while self._missing and self._store.has(str(self._missing[0])):
            self._missing.pop(0)
        return not self._missing and self._store.put(_ALL)

    def _look(self) -> List[int]:
        """The workers that are not there."""
        return [rank for rank in range(self._size)
                if rank != self._rank and not self._store.has(str(rank))]

    def _say_who_is_missing(self, seconds: float) -> None:
        missing = self._look()
        first = min(set(range(self._size)) - set(missing))
        if missing and first == self._rank:
            self._say("epl: worker {} waits in epl.init for {} ({:.0f} s)\n".format(
                self._rank, _names(missing), seconds))


def _names(workers: List[int]) -> str:
    return "worker " + ", ".join(map(str, workers)) if workers else "a worker"
