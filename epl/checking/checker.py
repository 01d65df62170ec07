# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The check: it counts training steps, has each recorded, compared and reported."""

import atexit
import os
import sys
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from epl import compat
from epl.checking import notes, parts
from epl.checking.compare import Expected, Row, compare, noise
from epl.checking.exchange import Exchange
from epl.checking.join import Batch, fed_sparse, feed_of, join
from epl.checking.record import Given, Taken, digest, read_variables
from epl.checking.reference import Outcome, Reference
from epl.checking.report import Found, Report, worst
from epl.checking.script import script_of
from epl.checking.wanted import NOTHING, Wanted, look
from epl.context import Context
from epl.env import Env
from epl.errors import CheckError, ConfigError
from epl.ir.environment import context_of
from epl.ir.graph_state import state_of
from epl.rewrite.sources import Sources
from epl.runtime.precision import casts
from epl.runtime.runs import Run
from epl.shared.check import PLAN_VARIABLE, STEPS_VARIABLE, UNCHECKED_CODE

STEPS = 3

_Execute = Callable[[List[Any], List[Any]], List[Any]]


def check(steps: int = STEPS, stop: bool = False) -> "Check":
    """Compare the next training steps with plain TensorFlow on one device with the whole batch.

    Call it on every worker, after `epl.init` and before the model is built. Each of the steps runs
    as asked for; then the chief runs it in plain TensorFlow, and after the last one prints which
    variables, gradients, losses and fetches differ, and by how much.

    Args:
      steps: how many training steps of this process to compare.
      stop: end the script after them: exit code 0 if nothing differs, 3 if something does, 4 if
        nothing could be compared. `epl-launch --check` does that.

    Returns:
      The check; its `report` is None until the last step.

    Raises:
      RuntimeError: before `epl.init()`, or while another check is on.
      ValueError: no positive number of steps.
      ConfigError: mixed precision is on.

    Examples:
      >>> epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
      >>> checking = epl.check(steps=1)
      >>> epl.set_default_strategy(epl.replicate(device_count=2))
      >>> x = tf.placeholder(tf.float32, [None])
      >>> loss = tf.reduce_mean(x * tf.get_variable("w", [], initializer=tf.ones_initializer()))
      >>> train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
      >>> with tf.Session() as session:
      ...     session.run(tf.global_variables_initializer())
      ...     session.run(train, {x: [1, 2, 3, 4]})  # doctest: +ELLIPSIS
      epl check: 1 step(s) beside plain TensorFlow, one device, the whole batch
      ...
      epl check: SAME: 1 fetch(es), 1 gradient(s), 1 variable(s)
      >>> checking.report.passed
      True
    """
    env = Env.get()
    env.require_init("epl.check")
    if casts(env.context.config):
        raise ConfigError("a check compares with plain TensorFlow in float32, and amp.dtype = "
                          "'{}' computes with 16 bits: check with amp.dtype = 'float32'".format(
                              env.context.config.amp.dtype))
    if steps < 1:
        raise ValueError("epl.check: {} step(s): compare 1 or more".format(steps))
    if os.environ.get(PLAN_VARIABLE):
        raise RuntimeError("epl.check: the script is planned (epl-launch --plan), and nothing is "
                           "trained that could be compared: leave out one of the two")
    if env.worker.check is not None:
        raise RuntimeError("epl.check: a check is on already, until its last step: call it once "
                           "(epl-launch --check calls it by itself)")
    env.worker.check = made = Check(steps, stop)
    return made


class _Step(NamedTuple):
    """A step on this worker."""

    wanted: Wanted
    taken: Taken
    given: Given
    before: Dict[str, Any]


class Words(NamedTuple):
    """What the chief has to say about a step.

    Attributes:
      batch: lines about the data.
      notes: what else there is.
      parts: into how many parts the batch was divided, over all workers.
      how: how plain TensorFlow was given the batch.
    """

    batch: List[str]
    notes: List[str]
    parts: int
    how: str


class Check:
    """A check of some training steps.

    Attributes:
      report: what it found, or None before the last step.
    """

    def __init__(self, steps: int, stop: bool):
        self.report: Optional[Report] = None
        self._steps = steps
        self._stop = stop
        self._done = 0
        self._found: List[Found] = []
        self._notes: List[str] = []
        self._references: Dict[Any, Union[Reference, parts.PartsReference]] = {}
        self._batch: List[str] = []
        self._layout = ""
        self._how = "the whole batch"
        if stop:
            atexit.register(self._at_exit, os.getpid())

    def before_rewrite(self, graph: Any) -> None:
        """The rewrite is about to change `graph`."""
        script_of(graph).copy_new(graph)

    def unplanned(self, graph: Any) -> None:
        """`graph` is run as it is: no rewrite changes it."""

    def after_rewrite(self, graph: Any) -> None:
        """It has."""
        script_of(graph).skip(graph)

    def step(self, session: Any, run: Run, fetches: List[Any], targets: List[Any],
             fed: Dict[str, Any], execute: _Execute) -> List[Any]:
        """Run a training step, and compare it.

        Args:
          session: the session that runs it.
          run: the `runs.Run`.
          fetches: tensors that the script fetches.
          targets: operations that it runs.
          fed: name of a tensor -> what the script feeds, for all clones of this worker.
          execute: runs the step; takes tensors as the script would fetch them, and tensors that are
            fetched as they are; returns their values.

        Returns:
          The values of `fetches`.
        """
        graph = session.graph
        fed_values = {name: np.array(value) for name, value in fed.items()}
        problem = ""
        try:
            wanted = look(graph, script_of(graph), run, fetches, targets, set(fed_values))
        except CheckError as error:
            wanted, problem = NOTHING, str(error)
        before = read_variables(session)
        asked, extra = list(fetches) + wanted.losses, wanted.extra
        values = execute(asked, extra)
        of = {t.name: np.array(v) for t, v in zip(extra, values[len(asked):])}
        ignored: Set[str] = set() if context_of(graph).cluster.is_chief else wanted.once
        taken = Taken(fed_values, _pick(wanted.taken, of, ignored),
                      _pick(wanted.drawn, of, ignored),
                      {name: digest(value) for name, value in before.items()}, problem)
        given = Given(_readable(graph, dict(zip([t.name for t in asked], values))),
                      {name: [of[t.name] for t in tensors] for name, tensors in wanted.gradients},
                      read_variables(session))
        self._layout = state_of(graph).known_plan.describe().split("\n")[0]
        try:
            self._compare(graph, _Step(wanted, taken, given, before))
        except CheckError as error:
            self._end(context_of(graph), str(error))
        else:
            self._done += 1
            if self._done == self._steps:
                self._end(context_of(graph), "")
        return values[:len(fetches)]

    def _compare(self, graph: Any, step: _Step) -> None:
        """Compare a step; all workers do so together.

        Raises:
          CheckError: it cannot be compared; on all workers.
        """
        context = context_of(graph)
        cluster, exchange = context.cluster, Exchange(context)
        workers = [Taken(*each) for each in exchange.all_gather_object(step.taken)]
        problem = next((worker.problem for worker in workers if worker.problem), "")
        expected, words = None, Words([], [], 1, "")
        if cluster.is_chief and not problem:
            try:
                expected, words = self._reference(graph, step, workers)
            except CheckError as error:
                problem = str(error)
            except Exception as error:  # the others wait
                traceback.print_exc()
                problem = "the check itself failed: {}: {}".format(type(error).__name__, error)
        problem, said = exchange.broadcast_object((problem, words))
        words = Words(*said)
        if problem:
            raise CheckError(problem)
        expected = exchange.expected(expected)
        shared = {compat.variable_key(v).name for v in compat.global_variables(graph)}
        fetches = exchange.all_gather_object(step.given.fetches)
        for worker, rows in enumerate(exchange.all_gather_object(
                compare(step.given, expected, step.before, shared, fetches,
                        step.wanted.everywhere))):
            self._found.extend(Found(Row(*row), self._done + 1, worker) for row in rows)
        self._batch, self._how = words.batch, words.how
        self._notes.extend(words.notes + notes.of_differences(
            graph, step.wanted, words.parts, worst(self._found)))

    def _reference(self, graph: Any, step: _Step,
                   workers: Sequence[Taken]) -> Tuple[Expected, "Words"]:
        """What plain TensorFlow gives, and what there is to say about the data. Chief only."""
        wanted = step.wanted
        batch = join(workers, {name: feed_of(graph.get_tensor_by_name(name))
                               for name in step.taken.fed},
                     fed_sparse(graph, step.taken.fed), wanted.sparse)
        key = (id(graph), tuple(wanted.fetches), tuple(wanted.targets), tuple(sorted(batch.values)))
        clones = len(state_of(graph).known(Sources).clones)
        why = parts.reason(graph, wanted, batch, len(workers) * clones)
        outcome, why = self._outcome(key, graph, step, batch, workers, clones, why)
        given, shaken = [g._replace(fetches=_readable(graph, g.fetches))
                         for g in (outcome.given, outcome.shaken)]
        words = Words(batch.lines, notes.of_draws(wanted, outcome.undrawn) + notes.of_batch(
            batch, workers), len(workers) * clones,
            "part after part, as {}".format(why) if why else "the whole batch")

        if outcome.left_out:
            words.notes.append("not compared, as it cannot be told from the parts: "
                               + ", ".join(outcome.left_out))
        if wanted.foreign:
            words.notes.append("fetched, but not made by the script, so not compared: "
                               + ", ".join(wanted.foreign))
        return Expected(given, noise(given, shaken), step.taken.digests), words

    def _outcome(self, key: Any, graph: Any, step: _Step, batch: Batch, workers: Sequence[Taken],
                 clones: int, why: str) -> Tuple[Outcome, str]:
        """What plain TensorFlow gives, and why it was given part after part, or ""."""
        wanted, variables = step.wanted, sorted(step.before)
        if not why:
            try:
                if key not in self._references:
                    self._references[key] = Reference(graph, script_of(graph), wanted, batch,
                                                      variables)
                return self._references[key].run(step.before, batch, workers), ""
            except CheckError as error:
                if len(workers) * clones == 1:
                    raise
                why = str(error)
        key += ("parts",)
        if key not in self._references:
            self._references[key] = parts.PartsReference(
                graph, script_of(graph), wanted, variables, clones,
                state_of(graph).known_plan.reduce_method == "mean")
        return self._references[key].run(step.before, batch, workers), why

    def _end(self, context: Context, problem: str) -> None:
        """After the last step, or when no step can be compared."""
        context.worker.check = None
        for reference in self._references.values():
            reference.close()
        self._references = {}
        self.report = Report(self._done, worst(self._found), list(dict.fromkeys(self._notes)),
                             problem, self._layout, self._batch, self._how)
        if context.cluster.is_chief:
            _print(self.report)
        Exchange(context).broadcast_object(None)  # it is printed
        if self._stop:
            raise SystemExit(self.report.exit_code)

    def _at_exit(self, process: int) -> None:
        """A script that ends before the last step has not been checked."""
        if self.report is not None or os.getpid() != process \
                or getattr(sys, "last_value", None) is not None:
            return
        _print(Report(self._done, worst(self._found), list(dict.fromkeys(self._notes)),
                      "the script ended after {} training step(s) that EPL divides, {} were to be "
                      "checked".format(self._done, self._steps), self._layout, self._batch,
                      self._how))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(UNCHECKED_CODE)


def begin_if_asked() -> None:
    """Begin the check that `epl-launch --check` asks for, once per process."""
    steps = os.environ.pop(STEPS_VARIABLE, "")
    if steps:
        check(int(steps), stop=True)


def _print(report: Report) -> None:
    print("\n".join("epl check: " + line for line in report.describe().split("\n")), flush=True)


def _pick(wanted: Dict[str, List[Any]], values: Dict[str, Any],
          ignored: Set[str]) -> Dict[str, List[Any]]:
    return {name: [values[t.name] for t in tensors] for name, tensors in wanted.items()
            if name not in ignored}


def _readable(graph: Any, fetches: Dict[str, Any]) -> Dict[str, Any]:
    """Fetched values; of summaries the numbers."""
    found = {}
    for name, value in fetches.items():
        tensor = graph.get_tensor_by_name(name)
        if tensor.op.type in ("MergeSummary", "ScalarSummary"):
            for entry in tf.Summary.FromString(value).value:
                if entry.HasField("simple_value"):
                    found["{} ({})".format(name, entry.tag)] = np.float32(entry.simple_value)
        else:
            found[name] = np.array(value)
    return found
