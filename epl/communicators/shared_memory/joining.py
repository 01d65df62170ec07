# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How the workers of a machine find each other: by notes in the rendezvous of their job.

    worker r    listens on loopback | note r | notes of all | connects, opens the memory of all
"""

import json
import os
import time
from typing import Dict, List, NamedTuple

from epl.communicators import handshake
from epl.communicators.horovod.rendezvous import LOOPBACK
from epl.communicators.place import Place, store_of
from epl.communicators.shared_memory import mesh
from epl.communicators.shared_memory.segments import Seen, Segment, Where
from epl.errors import ConfigError, WorkerLostError
from epl.typed import made

JOIN_S = 60.0  # all workers are there already, see `arrival`
_NOTE = "memory.{}"
_PAUSE_S = 0.02


class _Note(NamedTuple):
    """What a worker tells the others.

    Attributes:
      machine: which one it is on, and as which user.
      process: its number there.
      port: of TCP, where it listens.
      where: its memory.
    """

    machine: str
    process: int
    port: int
    where: Where


class Joined(NamedTuple):
    """What connects a worker with the others.

    Attributes:
      mesh: the connections.
      seen: rank -> the memory of that worker; its own too.
    """

    mesh: mesh.Mesh
    seen: Dict[int, Seen]


def join(place: Place, own: Segment) -> Joined:
    """Connect with the other workers, all of which are about to do so.

    Args:
      place: this worker.
      own: its memory.

    Raises:
      ConfigError: they do not see each other's memory.
      WorkerLostError: one of them did not come.
    """
    listener = handshake.Listener(LOOPBACK, place.meeting.secret)
    notes = _exchanged(place, _Note(_machine(), os.getpid(), listener.place.port, own.where))
    _check_same_machine(notes)
    connections = mesh.connections_of(
        place.rank, place.size, listener,
        [handshake.Place(LOOPBACK, note.port, place.meeting.secret) for note in notes], JOIN_S)
    if connections is None:
        raise WorkerLostError("not all other workers connected with worker {} in {:g} s".format(
            place.rank, JOIN_S))
    watch = mesh.Watch({r: n.process for r, n in enumerate(notes) if r != place.rank},
                       place.patience)
    return Joined(mesh.Mesh(place.rank, connections, watch.look), _seen(notes))


def _machine() -> str:
    """The running system, the processes that are seen, and the user."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return "{} {} {}".format(file.read().strip(), os.readlink("/proc/self/ns/pid"),
                                 os.getuid())


def _check_same_machine(notes: List[_Note]) -> None:
    for rank, note in enumerate(notes):
        if note.machine != notes[0].machine:
            raise ConfigError(
                "the communicator 'shared_memory' connects workers of one machine, and one user, "
                "that see each other's processes; worker 0 and worker {} are no such ones: choose "
                "another one with communication.communicator".format(rank))


def _seen(notes: List[_Note]) -> Dict[int, Seen]:
    try:
        return {rank: Seen(note.where) for rank, note in enumerate(notes)}
    except (OSError, ValueError) as error:
        raise ConfigError("the communicator 'shared_memory' cannot open another worker's memory "
                          "({}); choose another one with communication.communicator".format(
                              error)) from None


def _exchanged(place: Place, own: _Note) -> List[_Note]:
    """The notes of all workers, in the order of ranks."""
    store, deadline = store_of(place), time.monotonic() + JOIN_S
    found: List[_Note] = []
    noted = False
    while len(found) < place.size:
        noted = noted or store.put(_NOTE.format(place.rank), json.dumps(own).encode())
        note = store.get(_NOTE.format(len(found))) if noted else None
        if note is not None:
            found.append(made(_Note, json.loads(note.decode())))
        elif time.monotonic() > deadline:
            raise WorkerLostError("worker {} was not there to connect with in {:g} s".format(
                len(found), JOIN_S))
        else:
            time.sleep(_PAUSE_S)
    return found
