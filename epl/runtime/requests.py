# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Session runs of workers that hold replicas together, outside of training steps.

    worker 0, the leader    init | meet | runs it | ...  read | meet | reads it |  meet(step)
    worker 1                init | meet | waits   | ...  read | meet | gets it  |  meet(step)

The variables are in one session, the leader's. What a member runs the leader has run for it, at a
meeting like any other: if all came for the same it is run once. If they came for different things,
what the leader wants comes first, so that it may read and write on its own; the others wait until
it comes to what they want. If it comes to a step, or its end, before that, then only the member
wants it: the leader reads for it. What writes, and returns nothing, is left out then, as variables
that only other workers than the chief write have its values in the next step anyway.
"""

import contextlib
import hashlib
import threading
import weakref
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.context import Context
from epl.errors import ConfigError, WorkerLostError
from epl.ir.environment import context_of
from epl.runtime import control_plane, shared_feeds
from epl.typed import made

_NUMBER = "_epl_number"  # of a session, among those whose graphs lie on several workers

_ERRORS: Dict[str, type] = {error.__name__: error for error in (
    ConfigError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
    WorkerLostError)}

_here = threading.local()

# What a run gave, or (type, TensorFlow's code, text) of its error.
Answer = Tuple[Optional[List[Any]], Optional[Tuple[str, int, str]]]


class Request(NamedTuple):
    """A run that a worker wants.

    Attributes:
      session: the number of its session.
      fetches: names of the tensors that come back.
      targets: names of the operations that are run.
      fed: digests of what is fed.
      writes: it writes global variables.
      leaders: the leader of each worker of the job.
    """

    session: int
    fetches: List[str]
    targets: List[str]
    fed: List[str]
    writes: bool
    leaders: List[int]

    def same(self, other: "Optional[Request]") -> bool:
        """True if both want the same."""
        return other is not None and self[:4] == other[:4]

    def describe(self) -> str:
        """In words, the same for the same runs alone."""
        digest = hashlib.sha256(repr(self[:4]).encode()).hexdigest()[:8]
        names = self.fetches + self.targets
        return "run {}{} ({})".format(
            ", ".join(names[:3]), ", ..." if len(names) > 3 else "", digest)


class Wanted(NamedTuple):
    """A request of this worker.

    Attributes:
      request: what it tells the others.
      values: name of a tensor -> what it is fed.
      execute: runs it, on a leader.
    """

    request: Request
    values: Dict[str, Any]
    execute: Callable[[], List[Any]]


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """What this thread runs is run by the leader, for all members."""
    before, _here.inside = is_inside(), True
    try:
        yield
    finally:
        _here.inside = before


def is_inside() -> bool:
    """True in a thread of a leader that runs what was agreed on."""
    return getattr(_here, "inside", False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What this thread does no other worker does."""
    _here.alone = True
    try:
        yield
    finally:
        _here.alone = False


def register(session: Any) -> None:
    """`session` is made for a graph that lies on several workers.

    Raises:
      NotImplementedError: other workers make none.
    """
    if getattr(_here, "alone", False):
        raise NotImplementedError(
            "tf.estimator.train_and_evaluate evaluates on the chief alone, and the graph of its "
            "evaluation has a training step, whose model replicas lie on several workers: let the "
            "model_fn ask for gradients in mode TRAIN only, or call Estimator.train and "
            "Estimator.evaluate in turns")
    sessions = context_of(session.graph).worker.sessions
    setattr(session, _NUMBER, len(sessions))
    sessions.append(weakref.ref(session))


def is_held(session: Any) -> bool:
    """True if workers that hold replicas together have to close `session` together.

    What the others want of the leader's is wanted until they close theirs.
    """
    return any(each is not None and each() is session
               for each in context_of(session.graph).worker.sessions)


def release(session: Any) -> None:
    """`session` is to be closed."""
    sessions = context_of(session.graph).worker.sessions
    sessions[:] = [None if each is None or each() is session else each for each in sessions]


def request_of(session: Any, fetches: List[Any], targets: List[Any], fed: Dict[Any, Any],
               writes: bool) -> Request:
    """What a worker tells the others of a run.

    Raises:
      RuntimeError: the session was made before the graph was one that lies on several workers.
    """
    number = getattr(session, _NUMBER, None)
    if number is None:
        raise RuntimeError(
            "the session was made before the training step was built, whose model replicas lie on "
            "several workers: it has the devices of one of them. Build the whole graph first, and "
            "make the session afterwards")
    return Request(number, [t.name for t in fetches], [op.name for op in targets],
                   digests(fed), writes, leaders_of(context_of(session.graph)))


def digests(fed: Dict[Any, Any]) -> List[str]:
    """A text for each tensor that is fed, its name and a digest of the value, by name."""
    return sorted("{} {}".format(tensor.name, shared_feeds.digest([(tensor, value)]))
                  for tensor, value in ((compat.fed_tensor(key), fed[key]) for key in fed))


def leaders_of(context: Context) -> List[int]:
    """The leader of each worker of the job."""
    teams = context.teams
    assert teams is not None
    return [teams.members(teams.team_of(worker))[0]
            for worker in range(context.of_process.cluster.worker_num)]


def serve(context: Context, wanted: Optional[Wanted] = None) -> Optional[Answer]:
    """Carry out one of the runs that workers want; all have to call this.

    Args:
      context: of the job.
      wanted: what this worker wants; None: nothing.

    Returns:
      What it wanted, if that was carried out; None: ask again.
    """
    plane, own = control_plane.of(context), context.of_process.cluster.worker_index
    every = [None if told is None else made(Request, told) for told in plane.all_gather_object(
        None if wanted is None else wanted.request)]
    asking = [rank for rank, request in enumerate(every) if request is not None]
    leading = [rank for rank in asking if _of(every, rank).leaders[rank] == rank]
    if not asking:
        return None
    first = _of(every, (leading or asking)[0])
    alike = [rank for rank in asking if first.same(every[rank])]
    answers: List[Optional[Answer]] = []
    if leading:
        served = [rank for rank in alike if first.leaders[rank] in alike]
        answer = _attempt(wanted.execute) if wanted is not None and own in leading \
            and own in served else None
    else:
        served = alike
        values = plane.all_gather_object(
            wanted.values if wanted is not None and own == alike[0] else None)[alike[0]]
        answer = _instead(context, first, values) \
            if own in {first.leaders[rank] for rank in served} else None
    if any(rank != first.leaders[rank] for rank in served):
        answers = plane.all_gather_object(answer)
    if wanted is None or own not in served:
        return None
    return answer if own in leading else answers[first.leaders[own]]


def _of(every: List[Optional[Request]], rank: int) -> Request:
    request = every[rank]
    assert request is not None
    return request


def _attempt(execute: Callable[[], List[Any]]) -> Answer:
    try:
        return execute(), None
    except Exception as error:
        return None, told(error)


def _instead(context: Context, request: Request, values: Dict[str, Any]) -> Answer:
    """Run what only members want, on their leader."""
    if not request.fetches:
        return [], None
    if request.writes:
        return None, told(NotImplementedError(
            "a worker is about to {}, which writes variables, and the worker that leads it is not: "
            "what workers hold together is written by all of them, or by the chief alone".format(
                request.describe())))
    sessions = context.worker.sessions
    held = sessions[request.session] if request.session < len(sessions) else None
    session = held() if held is not None else None
    if session is None:
        return None, told(RuntimeError(
            "a worker is about to {}, but the worker that leads it has closed this session".format(
                request.describe())))

    def execute() -> List[Any]:
        with inside():
            return list(session.run(request.fetches + request.targets, values)
                        [:len(request.fetches)])

    return _attempt(execute)


def told(error: BaseException) -> Tuple[str, int, str]:
    """What other workers are told of an error."""
    code = int(error.error_code) if isinstance(error, tf.errors.OpError) else 0
    return type(error).__name__, code, str(error)


def raised(kind: str, code: int, text: str) -> Exception:
    """The error that was told of."""
    if code:
        found: Exception = tf.errors.exception_type_from_error_code(code)(None, None, text)
        return found
    return _ERRORS.get(kind, RuntimeError)(text)
