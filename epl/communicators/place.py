# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which worker of its job a process is, and where it meets the others."""

import os
import socket
from typing import NamedTuple, Sequence

from epl.communicators.horovod import arrival, rendezvous, variables
from epl.communicators.horovod.rendezvous import Meeting
from epl.errors import ConfigError

_PATIENCE_S = 30.0


class Place(NamedTuple):
    """A worker in its job.

    Attributes:
      rank: which worker, 0-based.
      size: how many there are.
      meeting: the rendezvous of the job.
      patience: how long another worker may be silent, in seconds.
    """

    rank: int
    size: int
    meeting: Meeting
    patience: float = 30.0


def place_of(rank: int, hosts: Sequence[str], communicator: str) -> Place:
    """This worker, as the environment describes the job.

    Args:
      rank: this worker's.
      hosts: `host` or `host:port` of every worker, in the order of ranks.
      communicator: the name of what is about to connect it.

    Raises:
      ConfigError: it describes another one, or not enough.
    """
    if variables.RANK not in os.environ:
        arrival.prepare_rendezvous(rank, hosts)
    meeting = rendezvous.meeting_of(os.environ)
    if meeting is None or not meeting.secret:  # Horovod's runners have one that lets anybody in
        raise ConfigError("the communicator '{}' needs a rendezvous of EPL's: start the workers "
                          "with epl-launch, mpirun, srun or torchrun, or describe them in "
                          "TF_CONFIG".format(communicator))
    said = int(os.environ[variables.RANK]), int(os.environ[variables.SIZE])
    if said != (rank, len(hosts)):
        raise ConfigError("the launcher says worker {} of {}, the cluster information says worker "
                          "{} of {}; start all workers with one epl-launch".format(
                              said[0], said[1], rank, len(hosts)))
    return Place(rank, len(hosts), meeting, _patience())


def store_of(place: Place) -> arrival.Store:
    """The notes that the workers of the job leave each other."""
    return arrival.Store("{}:{}/{}".format(*place.meeting), str(place.meeting.port))


def own_address(meeting: Meeting) -> str:
    """The address of this machine at which the others, who reach the rendezvous, reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((meeting.host, meeting.port or 9))  # chooses a route, sends nothing
        return str(probe.getsockname()[0])


def _patience() -> float:
    """How long another worker may be silent: as long as with Horovod, by the same variable."""
    text = os.environ.get(variables.TIMEOUT, "")
    try:
        return float(text) if text else _PATIENCE_S
    except ValueError:
        raise ConfigError("{} = {!r}: a number of seconds is needed".format(
            variables.TIMEOUT, text[:50])) from None
