# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the workers meet: before a step, when a session is made, after a failure, at the end.

    worker 0   meet(step) | step | meet(step) | step | meet(end)
    worker 1   meet(step) | step | meet(step) | step | meet(end)

Every worker says what it is about to do; all learn whether all do the same. If one has just
initialized or restored its variables, all take the chief's; if one is about to do something else,
all end with an error that says who wanted what; if one asks for a stop, all stop after the step.
If hooks of one have ended its training session, the sessions of the others end where they are.
Nobody waits inside a collective that another worker never enters.
"""

import hashlib
import sys
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from epl.communicators.base import Communicator
from epl.context import Context
from epl.errors import WorkerLostError
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.runtime import (
    broadcast,
    control_plane,
    fingerprint,
    graphs,
    held_state,
    requests,
    sessions,
    shared_feeds,
    stop,
    warming,
)
from epl.runtime.intents import (
    CREATION,
    END_OF_SCRIPT,
    END_OF_TRAINING,
    READ,
    RELEASE,
    Intent,
    all_can_end,
    different,
    ended_by_others,
)
from epl.shared import progress
from epl.typed import made

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

_COORDINATOR = "_epl_coordinator"  # of a monitored session, until training has ended in it
_HAS_TRAINED = "_epl_has_trained"
_ASKED = "_epl_asked"  # hooks or threads have asked for the end of a monitored session


class Outcome(NamedTuple):
    """What a meeting found.

    Attributes:
      same: all workers came for the same thing.
      stale: a worker's variables are not the chief's.
      unverified: a worker has not compared its graph with the others' yet.
      leaving: a worker came to end or to report a failure.
      asked: a worker asks for what others hold.
      cold: the exchanges of a worker's graph have to be made known to its session.
    """

    same: bool
    stale: bool
    unverified: bool
    leaving: bool
    asked: bool
    cold: bool


def can_be_ended(session: Any, coordinator: Any) -> None:
    """A monitored session has been made around `session`."""
    setattr(session, _COORDINATOR, coordinator)


def is_ending(session: Any, asked: bool) -> None:
    """The monitored session around `session` ends; hooks or threads may have asked for it."""
    setattr(session, _ASKED, asked)


def has_trained(session: Any) -> bool:
    """True if `session` has run a training step."""
    return getattr(session, _HAS_TRAINED, False)


def note_step(session: Any) -> None:
    """`session` has run a training step."""
    setattr(session, _HAS_TRAINED, True)


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
      tf.errors.OutOfRangeError: another worker's hooks have ended training; a monitored session
        ends at it without an error.
    """
    coordinator = getattr(session, _COORDINATOR, None)
    context = context_of(session.graph)
    while True:
        progress.waiting_before_step("agreement")
        step = sessions.named(graphs.named(what, session.graph), session)
        outcome = _meet(context, step + shared_feeds.digest(fed), session)
        _level(session, outcome)
        if outcome.asked:
            continue
        if outcome.same:
            return
        if outcome.leaving or not outcome.stale:
            wanted = _tell(context, Intent(step, can_end=coordinator is not None,
                                           fed=shared_feeds.shown(fed)))
            if coordinator is None or not all_can_end(wanted):
                raise different(wanted)
            setattr(session, _COORDINATOR, None)
            coordinator.request_stop()
            raise ended_by_others(wanted)


def session_created(session: Any) -> None:
    """Meet after a training session was made: its hooks then see the chief's variables."""
    progress.waiting("agreement to " + CREATION)
    context = context_of(session.graph)
    asked = True
    while asked:
        outcome = _meet(context, CREATION, session)
        asked = outcome.asked
        if outcome.leaving and not asked:
            raise different(_tell(context, Intent(CREATION)))
        _level(session, outcome)
    progress.session_ready()


def training_ended(context: Context, asked: bool) -> None:
    """Meet when a training session has ended: then the chief's last checkpoint is there.

    Args:
      context: what it ran under.
      asked: hooks or threads of this worker have asked for it.
    """
    while True:
        progress.waiting("agreement to " + END_OF_TRAINING)
        outcome = _meet(context, END_OF_TRAINING, None)
        if outcome.asked:
            _serve(context)
            continue
        if outcome.same:
            break
        wanted = _tell(context, Intent(END_OF_TRAINING, asked))
        if not all_can_end(wanted):
            raise different(wanted)
    context.worker.ended_together = True


def script_ended(context: Context) -> bool:
    """Meet at the end of the script, unless the workers have ended their training together.

    Returns:
      False if another worker was about to go on with training.
    """
    if context.cluster.worker_num == 1 or context.worker.ended_together \
            or not context.connection.is_connected:
        return True
    progress.waiting("agreement to " + END_OF_SCRIPT)
    if held_state.holds(context) or context.worker.spans:
        return _script_ended_holding(context)
    found = control_plane.of(context).last_all_reduce_max(
        _vector(context, END_OF_SCRIPT, False, False, True), END_OF_SCRIPT_SECONDS)
    if found is None or _outcome(context, found).same:
        return True
    wanted = _tell(context, Intent(END_OF_SCRIPT))
    sys.stderr.write("epl: {}\n".format(different(wanted)))
    return False


def _script_ended_holding(context: Context) -> bool:
    """As `script_ended`, for workers of which others may ask what only these hold."""
    try:
        outcome = _meet(context, END_OF_SCRIPT, None)
        while outcome.asked:
            _serve(context)
            outcome = _meet(context, END_OF_SCRIPT, None)
    except WorkerLostError:  # the launcher says why
        return True
    if outcome.same:
        return True
    sys.stderr.write("epl: {}\n".format(different(_tell(context, Intent(END_OF_SCRIPT)))))
    return False


def ask_for_state(session: Any, names: List[str], take: Callable[[str, Any], None]) -> None:
    """Meet, and get what other workers hold.

    Args:
      session: the session that is to read it.
      names: of what stands for the variables.
      take: gets the name and the whole value of each, one after the other.
    """
    context = context_of(session.graph)
    with context.worker.steps:
        progress.waiting("what other workers hold of " + ", ".join(names[:3]))
        outcome = _meet(context, READ, session, asks=True)
        _level(session, outcome, names, take)
        progress.waited()


def meet_beside(session: Any, what: str, wanted: requests.Wanted) -> Optional[requests.Answer]:
    """Meet for a run that is no step, of a graph that lies on several workers.

    Args:
      session: the session that is to run it.
      what: names the run; the same on all workers for the same one.
      wanted: the run.

    Returns:
      What it gave; None: it was the turn of another one.
    """
    context = context_of(session.graph)
    context.worker.ended_together = False
    progress.waiting("agreement to " + what)
    outcome = _outcome(context, control_plane.of(context).all_reduce_max(
        _vector(context, what, False, False, False, asks=True)))
    return _level(session, outcome, wanted=wanted)


def _serve(context: Context) -> None:
    """Give other workers what they ask for, when this one asks for nothing."""
    if context.worker.spans:
        requests.serve(context)
    else:
        held_state.serve(context)


def state_released(session: Any) -> None:
    """Meet before a session is closed that holds what others do not: they may ask for it.

    If hooks have ended the training in it, that of the others ends first.
    """
    context = context_of(session.graph)
    own = Intent(RELEASE, getattr(session, _ASKED, False),
                 can_end=getattr(session, _COORDINATOR, None) is not None)
    progress.waiting("agreement to " + RELEASE)
    while True:
        outcome = _meet(context, RELEASE, None)
        if outcome.asked:
            _serve(context)
        elif outcome.same:
            break
        else:
            wanted = _tell(context, own)
            if not all_can_end(wanted):
                raise different(wanted)
    release(session)
    progress.waited()


def release(session: Any) -> None:
    """`session` is to be closed, whatever other workers may want of it."""
    held_state.release(session)
    requests.release(session)


def after_failure(context: Context, error: BaseException) -> None:
    """Meet after a step failed on this worker.

    If all workers failed in it (the usual end of the data) they go on as TensorFlow would. If the
    others do not come they are waiting inside the step: the connection is closed, which ends their
    wait.

    Raises:
      WorkerLostError: the step failed because another worker left.
    """
    what = "report that a step failed"
    check_connected(context, context.connection, error)
    outcome = _outcome(context, all_told_of(
        context, error, _vector(context, what, False, False, True)))
    if outcome.asked:
        _serve(context)
        raise _begun_here(WorkerLostError("a step failed on worker {}: {}".format(
            context.cluster.worker_index, error))) from error
    if not outcome.same:
        wanted = _tell(context, Intent("{} ({})".format(what, type(error).__name__)))
        raise _begun_here(different(wanted)) from error


def check_connected(context: Context, connection: Communicator, error: BaseException) -> None:
    """Raises WorkerLostError if workers cannot go on after `error`, with which a step failed."""
    if not connection.broke(error):
        return
    if isinstance(error, tf.errors.InvalidArgumentError):  # by what it was given: nobody has left
        raise _begun_here(WorkerLostError("a step failed on worker {}: {}".format(
            context.of_process.cluster.worker_index, error))) from error
    progress.connection_lost()
    control_plane.give_precedence()
    raise WorkerLostError(control_plane.LOST.format(error)) from error


def all_told_of(context: Context, error: BaseException, numbers: List[int]) -> List[int]:
    """Meet after a step failed here: the maximum of what all workers say, `numbers` here.

    Raises:
      WorkerLostError: the others do not come, as they wait inside the step.
    """
    end_of_data = isinstance(error, tf.errors.OutOfRangeError)
    process = context.of_process
    progress.waiting("agreement on a step that failed here")
    found = control_plane.of(context).all_reduce_max_within(
        numbers, END_OF_DATA_SECONDS if end_of_data else OTHER_ERROR_SECONDS)
    if found is None:
        message = ("a step failed on worker {}, and not on all workers: the job cannot go on. {}"
                   "The step's error: {}".format(
                       process.cluster.worker_index, _CURE_OF_DATA if end_of_data else "", error))
        process.connection.disconnect()
        raise _begun_here(WorkerLostError(message)) from error
    return found


def _begun_here(error: Exception) -> Exception:
    """`error`, for which no other worker is to blame."""
    if isinstance(error, WorkerLostError):
        error.began_here = True
    return error


def _meet(context: Context, what: str, session: Any, asks: bool = False) -> Outcome:
    """Meet for `what`; without a session the worker is leaving."""
    context.worker.ended_together = False
    stale = session is not None and not getattr(session, _SYNCHRONIZED, False)
    unverified = session is not None and not fingerprint.is_verified(state_of(session.graph))
    return _outcome(context, control_plane.of(context).all_reduce_max(
        _vector(context, what, stale, unverified, session is None, asks,
                session is not None and warming.is_cold(session))))


def _vector(context: Context, what: str, stale: bool, unverified: bool,
            leaving: bool, asks: bool = False, cold: bool = False) -> List[int]:
    number = int(hashlib.sha256(what.encode()).hexdigest()[:15], 16)
    return [number, -number, int(stale), int(unverified), int(leaving),
            int(stop.wish(context.worker)), int(asks), int(cold)]


def _outcome(context: Context, maxima: List[int]) -> Outcome:
    """What all workers of the meeting read from its result."""
    stop.agree(context.worker, maxima[5])
    return Outcome(maxima[0] == -maxima[1], bool(maxima[2]), bool(maxima[3]), bool(maxima[4]),
                   bool(maxima[6]), bool(maxima[7]))


def _level(session: Any, outcome: Outcome, names: Sequence[str] = (),
           take: Callable[[str, Any], None] = lambda name, value: None,
           wanted: Optional[requests.Wanted] = None) -> Optional[requests.Answer]:
    """Bring this worker to the others' level; all workers of the meeting do the same.

    Args:
      session: the session that is to be brought there.
      outcome: of the meeting.
      names: of what this worker asks for, and `take` is given.
      wanted: a run that it wants.

    Returns:
      What that gave, if it was carried out.
    """
    context = context_of(session.graph)
    if outcome.unverified and not outcome.leaving:
        progress.waiting_before_step("comparison of the workers' programs")
        fingerprint.compare(session.graph)
    if outcome.stale and not outcome.leaving:
        progress.waiting_before_step("broadcast of the chief's variables")
        if not context.worker.spans:  # there the session of one worker runs all
            sessions.agree(context, session, trains=not names)
        broadcast.broadcast_variables(session)
        setattr(session, _SYNCHRONIZED, True)
    if outcome.cold and not outcome.leaving:
        warming.warm_up(session)
    if outcome.asked and context.worker.spans:
        return requests.serve(context, wanted)
    if outcome.asked:
        held_state.serve(context, session, names, take)
    return None


def _tell(context: Context, intent: Intent) -> List[Intent]:
    """What every worker of the meeting came for; all of them call it if that differs."""
    wanted = [made(Intent, each) for each in control_plane.of(context).all_gather_object(intent)]
    if END_OF_SCRIPT in [i.what for i in wanted] and intent.what != END_OF_SCRIPT:
        control_plane.give_precedence()
    return wanted
