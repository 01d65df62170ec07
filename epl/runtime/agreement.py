# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the workers meet: before a step, when a session is made, after a failure, at the end.

    worker 0   meet(step) | step | meet(step) | step | meet(end)
    worker 1   meet(step) | step | meet(step) | step | meet(end)

Every worker says what it is about to do; all learn whether all do the same. If one has just
initialized or restored its variables, all take the chief's; if one is about to do something else,
all end with an error that says who wanted what; if one asks for a stop, all stop after the step.
Nobody waits inside a collective that another worker never enters.
"""

import hashlib
import sys
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from epl.communicators import horovod_backend
from epl.env import Env
from epl.errors import ConfigError, WorkerLostError
from epl.ir.graph_state import state_of
from epl.runtime import broadcast, fingerprint, progress, shared_feeds, stop
from epl.runtime.control_plane import ControlPlane, give_precedence

# How long a worker whose step failed waits for the others to fail in the same step. All started it
# at the same time; the end of the data reaches them together, give or take a slow input pipeline.
END_OF_DATA_SECONDS = 15.0
OTHER_ERROR_SECONDS = 3.0
# How long a worker at the end of its script waits for the others. One that still trains comes to
# its next step within this time, if steps are short; one that evaluates alone is not waited for.
END_OF_SCRIPT_SECONDS = 5.0

_CURE_OF_DATA = ("Its data ended before that of others: epl.shard gives all workers equally many "
                 "rows; or end by a number of steps (StopAtStepHook). ")

_SYNCHRONIZED = "_epl_synchronized"
_END_OF_SCRIPT = "end its script"

_ended_together = False  # the last meeting was that of `training_ended`


class Outcome(NamedTuple):
    """What a meeting found.

    Attributes:
      same: all workers came for the same thing.
      stale: a worker's variables are not the chief's.
      unverified: a worker has not compared its graph with the others' yet.
      leaving: a worker came to end or to report a failure.
    """

    same: bool
    stale: bool
    unverified: bool
    leaving: bool


def mark_stale(session: Any) -> None:
    """Variables were written outside a step: the next meeting brings the chief's to all workers."""
    setattr(session, _SYNCHRONIZED, False)


def before_step(session: Any, what: str, fed: shared_feeds.Fed = ()) -> None:
    """Meet before a training step; afterwards all workers are about to run it, on equal variables.

    Args:
      session: the session that is to run it.
      what: names the step; the same on all workers for the same step.
      fed: what it is fed that has to be the same on all workers.

    Raises:
      WorkerLostError: another worker is not about to run this step.
      ConfigError: the workers' graphs or configurations differ, or what they feed.
    """
    while True:
        progress.waiting_before_step("agreement")
        outcome = _meet(what + shared_feeds.digest(fed), session)
        _level(session, outcome)
        if outcome.same:
            return
        if outcome.leaving or not outcome.stale:
            raise _different(what, fed)


def session_created(session: Any) -> None:
    """Meet after a training session was made: its hooks then see the chief's variables."""
    what = "create a training session"
    progress.waiting("agreement to " + what)
    outcome = _meet(what, session)
    if outcome.leaving:
        raise _different(what)
    _level(session, outcome)
    progress.session_ready()


def training_ended() -> None:
    """Meet when a training session has ended: then the chief's last checkpoint is there."""
    global _ended_together
    what = "end a training session"
    progress.waiting("agreement to " + what)
    outcome = _meet(what, None)
    if not outcome.same:
        raise _different(what)
    _ended_together = True


def script_ended() -> bool:
    """Meet at the end of the script, unless the workers have ended their training together.

    Returns:
      False if another worker was about to go on with training.
    """
    if Env.get().cluster.worker_num == 1 or _ended_together or not horovod_backend.is_connected():
        return True
    progress.waiting("agreement to " + _END_OF_SCRIPT)
    found = ControlPlane.get().last_maximum(
        _vector(_END_OF_SCRIPT, False, False, True), END_OF_SCRIPT_SECONDS)
    if found is None or _outcome(found).same:
        return True
    sys.stderr.write("epl: {}\n".format(_different(_END_OF_SCRIPT)))
    return False


def after_failure(error: BaseException) -> None:
    """Meet after a step failed on this worker.

    If all workers failed in it (the usual end of the data) they go on as TensorFlow would. If the
    others do not come they are waiting inside the step: the connection is closed, which ends their
    wait.

    Raises:
      WorkerLostError: the step failed because another worker left.
    """
    what = "report that a step failed"
    end_of_data = isinstance(error, tf.errors.OutOfRangeError)
    progress.waiting("agreement on a step that failed here")
    found = ControlPlane.get().maximum_within(
        _vector(what, False, False, True),
        END_OF_DATA_SECONDS if end_of_data else OTHER_ERROR_SECONDS)
    if found is None:
        message = ("a step failed on worker {}, and not on all workers: the job cannot go on. {}"
                   "The step's error: {}".format(
                       Env.get().cluster.worker_index, _CURE_OF_DATA if end_of_data else "", error))
        horovod_backend.disconnect()
        raise WorkerLostError(message) from error
    if not _outcome(found).same:
        raise _different("{} ({})".format(what, type(error).__name__)) from error


def _meet(what: str, session: Any) -> Outcome:
    """Meet for `what`; without a session the worker is leaving."""
    global _ended_together
    _ended_together = False
    stale = session is not None and not getattr(session, _SYNCHRONIZED, False)
    unverified = session is not None and not fingerprint.is_verified(state_of(session.graph))
    return _outcome(ControlPlane.get().maximum(_vector(what, stale, unverified, session is None)))


def _vector(what: str, stale: bool, unverified: bool, leaving: bool) -> Any:
    number = int(hashlib.sha256(what.encode()).hexdigest()[:15], 16)
    return [number, -number, int(stale), int(unverified), int(leaving), int(stop.wish())]


def _outcome(maxima: Any) -> Outcome:
    """What all workers of the meeting read from its result."""
    stop.agree(maxima[5])
    return Outcome(maxima[0] == -maxima[1], bool(maxima[2]), bool(maxima[3]), bool(maxima[4]))


def _level(session: Any, outcome: Outcome) -> None:
    """Bring this worker to the others' level; all workers of the meeting do the same."""
    if outcome.leaving:
        return
    if outcome.unverified:
        progress.waiting_before_step("comparison of the workers' programs")
        fingerprint.compare(session.graph)
    if outcome.stale:
        progress.waiting_before_step("broadcast of the chief's variables")
        broadcast.broadcast_variables(session)
        setattr(session, _SYNCHRONIZED, True)


def _different(what: str, fed: shared_feeds.Fed = ()) -> Exception:
    """The error for workers that came for different things; all of the meeting call it."""
    came = ControlPlane.get().gather((what, shared_feeds.shown(fed)))
    wanted = [text for text, _ in came]
    if len(set(wanted)) == 1:
        return ConfigError(shared_feeds.difference([values for _, values in came]))
    if _END_OF_SCRIPT in wanted and what != _END_OF_SCRIPT:
        give_precedence()
    lines = ["worker {}: {}".format(index, text) for index, text in enumerate(wanted)]
    return WorkerLostError(
        "the workers are about to do different things:\n  {}\nEvery worker has to run the same "
        "steps in the same order: give all the same number of batches, and do not train under "
        "'if worker_index == 0'".format("\n  ".join(lines)))
