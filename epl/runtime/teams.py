# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Session runs where workers hold model replicas together.

    leader    meet(step) | what is fetched? | runs it on all its workers | done? | gives values
    member    meet(step) | what is fetched? |                            | done? | gets values

The script runs on every worker, and builds the same graph there. Its operations lie on all workers
of a team, and one of these has the session that runs them: TensorFlow sends what passes from one
worker to another. So a step of a team is one run, of what any of its members fetches. Outside of
steps: `requests`.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.context import Context
from epl.errors import ConfigError, WorkerLostError
from epl.ir.environment import context_of
from epl.runtime import control_plane, coordination, requests, shared_feeds
from epl.runtime.runs import Run
from epl.shared import progress

# Runs fetches and targets; only the leader's is called.
Execute = Callable[[List[Any], List[Any]], List[Any]]


class _Asked(NamedTuple):
    """What a worker wants of a step: names of tensors and operations, digests of feeds."""

    fetches: Sequence[str]
    targets: Sequence[str]
    fed: Sequence[str]


def run(session: Any, found: Run, fetches: List[Any], targets: List[Any], fed: Dict[Any, Any],
        agreed: shared_feeds.Fed, execute: Execute) -> List[Any]:
    """Run fetches and targets of a graph that lies on several workers.

    Args:
      session: this worker's.
      found: what the run does.
      fetches: tensors, as the script asked for them.
      targets: operations.
      fed: what is fed.
      agreed: what of that is to be the same on all workers.
      execute: runs fetches and targets, with what this worker feeds.

    Returns:
      The values of `fetches`, the same on all workers of a team.
    """
    context = context_of(session.graph)
    _check(session.graph, context)
    with context.worker.steps:
        if found.step:
            return _step(context, session, found, _Asked(
                [t.name for t in fetches], [op.name for op in targets], requests.digests(fed)),
                agreed, execute)
        return _beside(context, session, found, fetches, targets, fed, execute)


def _check(graph: Any, context: Context) -> None:
    """Raises NotImplementedError for what only the leader's own threads could do."""
    runners = graph.get_collection(tf.GraphKeys.QUEUE_RUNNERS)
    if runners:
        raise NotImplementedError(
            "the graph has queue runners ({}), and its model replicas lie on several workers, "
            "which is not available yet in this version of EPL: read with tf.data, or feed".format(
                runners[0].name))
    if context.worker.check is not None:
        raise NotImplementedError("epl.check with model replicas that lie on several workers is "
                                  "not available yet in this version of EPL")


def _beside(context: Context, session: Any, found: Run, fetches: List[Any], targets: List[Any],
            fed: Dict[Any, Any], execute: Execute) -> List[Any]:
    """A run that is no step: by the leader, when all have met for it, or it alone wants it."""
    request = requests.request_of(session, fetches, targets, fed, found.writes)
    failure: List[Exception] = []

    def carry_out() -> List[Any]:
        try:
            with requests.inside(), context.of_process.connection.running(
                    control_plane.end_in_step):
                return execute(fetches, targets)
        except Exception as error:
            failure.append(error)
            raise

    wanted = requests.Wanted(
        request, {compat.fed_tensor(key).name: value for key, value in fed.items()}, carry_out)
    answer: Optional[requests.Answer] = None
    while answer is None:
        answer = coordination.meet_beside(session, request.describe(), wanted)
    progress.waited()
    if found.writes:
        coordination.mark_stale(session)
    values, error = answer
    if failure:
        raise failure[0]
    if error is not None:
        raise requests.raised(*error)
    return list(values or ())


def _step(context: Context, session: Any, found: Run, asked: _Asked, agreed: shared_feeds.Fed,
          execute: Execute) -> List[Any]:
    coordination.before_step(session, found.step, agreed)
    own, leaders = context.of_process.cluster.worker_index, requests.leaders_of(context)
    plane = control_plane.of(context)
    every = [_Asked(*each) for each in plane.all_gather_object(asked)]
    _check_fed(every, leaders)
    progress.step_begins(list(found.collectives) or ["worker {}'s run of it".format(leaders[own])])
    values: Dict[str, Any] = {}
    failure: Optional[Exception] = None
    if own == leaders[own]:
        try:
            values = _run_for_all(context, session.graph, [
                each for rank, each in enumerate(every) if leaders[rank] == own], execute)
        except Exception as error:
            failure = error
    _done(context, leaders, failure)
    if any(each.fetches for rank, each in enumerate(every) if leaders[rank] != rank):
        names = {name for rank, each in enumerate(every)
                 if leaders[rank] == own != rank for name in each.fetches}
        given = plane.all_gather_object({name: values[name] for name in sorted(names)})
        values = values if own == leaders[own] else given[leaders[own]]
    if own != leaders[own]:
        coordination.note_step(session)
        progress.step_done()
    if found.levels:
        coordination.mark_stale(session)
    return [values[name] for name in asked.fetches]


def _run_for_all(context: Context, graph: Any, members: List[_Asked],
                 execute: Execute) -> Dict[str, Any]:
    """Run what any of `members` wants; name of a tensor -> its value."""
    fetches = list(dict.fromkeys(name for each in members for name in each.fetches))
    targets = list(dict.fromkeys(name for each in members for name in each.targets))
    with requests.inside(), context.of_process.connection.running(control_plane.end_in_step):
        found = execute([graph.as_graph_element(name) for name in fetches],
                        [graph.as_graph_element(name) for name in targets])
    return dict(zip(fetches, found))


def _check_fed(every: List[_Asked], leaders: List[int]) -> None:
    """Raises ConfigError if workers that hold a replica together feed it differently."""
    for rank, each in enumerate(every):
        others = set(each.fed).symmetric_difference(every[leaders[rank]].fed)
        if others:
            raise ConfigError(
                "worker {} feeds '{}' otherwise than worker {}, with which it holds a model replica"
                ": workers of one replica feed the same rows, those of the replica (epl.shard with "
                "epl.global_batch gives them; batches that are drawn need the same seed)".format(
                    rank, sorted(others)[0].split(" ")[0], leaders[rank]))


def _done(context: Context, leaders: List[int], failure: Optional[Exception]) -> None:
    """Meet behind a step: has it succeeded?

    Who leads another team than that of a failed step waits in it, and never comes.

    Raises:
      What the step of this worker's team has raised.
    """
    connection, plane = context.of_process.connection, control_plane.of(context)
    if failure is None:
        failed = plane.all_reduce_max([0])
    else:
        coordination.check_connected(context, connection, failure)
        failed = coordination.all_told_of(context, failure, [1])
    if failed == [0]:
        return
    errors: List[Optional[Tuple[str, int, str]]] = plane.all_gather_object(
        None if failure is None else requests.told(failure))
    if failure is not None:
        raise failure
    error = errors[leaders[context.of_process.cluster.worker_index]]
    if error is None:
        rank, (_, _, text) = next((n, each) for n, each in enumerate(errors) if each is not None)
        raise WorkerLostError("a step failed on worker {}, and not on all: {}".format(rank, text))
    raise requests.raised(*error)
