# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stages, replicas and micro-batches on one worker give the results of one device.

By default a part of the matrix runs in which (nearly) every two choices meet. All of it, which
takes hours:

    EPL_FULL_MATRIX=1 scripts/test.sh tf1 tests/graph/test_equivalence.py

A larger number takes one case out of so many, `-k` those with a word in their name:

    EPL_FULL_MATRIX=13 scripts/test.sh tf2 tests/graph/test_equivalence.py -k "lstm and adam"

Of every model one case (of the matrix above every case) is trained once more without TensorFlow's
graph optimizers: what they do to the edges that EPL adds must not show.

The cases are trained in other processes (`tests.graph.equivalence`), the plain ones where EPL was
never imported. A case that brings its process down fails alone: another process does the rest,
and the case again, first of all.
"""

import os
import pickle
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.support import jobs, layouts, selected, warm
from tests.support.staged_models import GLOBAL_BATCH, STEPS

# Both sides add the same 32-bit floats in another order. One addition errs by at most 6e-8
# relative to the larger operand; ten steps of a few hundred additions stay within 1e-5 of a
# tensor's largest element. Absolute: variables whose gradient is zero in exact arithmetic (the bias
# of BERT's keys) hold nothing but rounding; weights here are of order 0.1.
RELATIVE = 1e-5
ABSOLUTE = 1e-6

_PROCESSES = 2
_CASES_PER_PROCESS = 16
_REFERENCES_PER_PROCESS = 100
_PROCESS_TIMEOUT_S = 180  # a test, which has a timeout too, may have to wait for three processes
_ENVIRONMENT = {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_DEVICE_TYPE": "cpu"}


def selected_cases():
    stride = int(os.environ.get("EPL_FULL_MATRIX", "0"))
    if stride:
        return (layouts.full_matrix()[::stride] + layouts.automatic_matrix()
                + layouts.ordered_matrix() + layouts.sliced_matrix())
    return (layouts.default_matrix() + layouts.automatic_matrix()[::17]
            + layouts.ordered_matrix()[::11] + layouts.sliced_matrix()[::2])


def marked_cases():
    """All selected cases; of each model one, which together have all choices, is marked as fast."""
    fast = set(layouts.default_matrix(per_model=1))
    return [pytest.param(case, marks=[pytest.mark.fast] if case in fast else [], id=str(case))
            for case in selected_cases()]


def unoptimized_cases():
    """Those that are trained without graph optimizers too."""
    several = [case for case in selected_cases() if case.layout.clones > 1]
    if "EPL_FULL_MATRIX" in os.environ:
        return several
    return list({case.training.model: case for case in several}.values())


class Trainings:
    """Trains cases and their references in other processes; results come as they are ready."""

    def __init__(self, cases, unoptimized, directory):
        self._directory = directory
        self._pool = ThreadPoolExecutor(_PROCESSES)
        self._futures = {}
        references = sorted({case.reference for case in cases})
        self._submit("plain", references, _REFERENCES_PER_PROCESS)
        self._submit("epl", cases, _CASES_PER_PROCESS)
        self._submit("epl", unoptimized, _CASES_PER_PROCESS)

    def outcome(self, entry):
        """The `Outcome` of a case or a reference; fails the test if there is none."""
        found = self._futures[entry].result()[entry]
        if found.error:
            pytest.fail("{}\n{}".format(entry, found.error), pytrace=False)
        return found

    def close(self):
        for future in self._futures.values():
            future.cancel()
        self._pool.shutdown()

    def _submit(self, side, entries, size):
        for first in range(0, len(entries), size):
            part = entries[first:first + size]
            path = str(self._directory / "{}_{}".format(side, len(self._futures)))
            future = self._pool.submit(train_all, side, part, path)
            self._futures.update({entry: future for entry in part})


def train_all(side, entries, path):
    """Train `entries`. Returns entry -> Outcome."""
    found = {}
    missing = entries
    while missing:
        output = _train_in_process(side, missing, path)
        done = _load_all(path + ".out")
        found.update(done)
        if not done:
            found[missing[0]] = layouts.Outcome(error="the process died:\n" + output[-3000:])
        missing = [entry for entry in missing if entry not in found]
    return found


def _train_in_process(side, entries, path):
    """Returns what the process printed."""
    with open(path + ".in", "wb") as file:
        pickle.dump(entries, file)
    open(path + ".out", "wb").close()
    argv = ["-m", "tests.graph.equivalence", side, path + ".in", path + ".out"]
    environment = jobs.environment_for(_ENVIRONMENT if side == "epl" else {})
    try:
        return warm.run(argv, environment, _PROCESS_TIMEOUT_S, text=True).stdout
    except subprocess.TimeoutExpired as error:
        return str(error)


def _load_all(path):
    found = {}
    with open(path, "rb") as file:
        while True:
            try:
                entry, outcome = pickle.load(file)
            except (EOFError, pickle.UnpicklingError):
                return found
            found[entry] = outcome


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """Trainings of the cases that were selected on the command line."""
    cases = selected.values(request, "case")
    unoptimized = [layouts.Unoptimized(item.callspec.params["case"])
                   for item in request.session.items if item.module is request.module
                   and item.function is test_graph_optimizers_change_nothing]
    trainings = Trainings(cases, unoptimized, tmp_path_factory.mktemp("equivalence"))
    yield trainings
    trainings.close()


def assert_same(found, expected):
    """Two outcomes have the same losses and variables."""
    np.testing.assert_allclose(found.losses, expected.losses, rtol=RELATIVE, atol=ABSOLUTE)
    assert set(found.variables) == set(expected.variables)
    for name, value in expected.variables.items():
        scale = np.max(np.abs(value))
        np.testing.assert_allclose(found.variables[name], value, rtol=0,
                                   atol=RELATIVE * scale + ABSOLUTE, err_msg=name)


@pytest.mark.parametrize("case", marked_cases())
def test_equals_one_device_with_the_whole_batch(trained, case):
    plain = trained.outcome(case.reference)
    assert plain.losses[0] != plain.losses[-1] and np.all(np.isfinite(plain.losses))
    assert plain.variables["global_step:0"] == STEPS
    assert_same(trained.outcome(case), plain)


@pytest.mark.parametrize("case", unoptimized_cases(), ids=str)
def test_graph_optimizers_change_nothing(trained, case):
    assert_same(trained.outcome(layouts.Unoptimized(case)), trained.outcome(case))


@pytest.mark.parametrize("case", [case for case in selected_cases()
                                  if case.training.model == "mlp"], ids=str)
def test_every_device_has_work(trained, case):
    places = {device.rpartition(":")[2] for device in trained.outcome(case).devices}
    if case.layout.num_devices > 1:
        assert places - {"", "*"} == {str(index) for index in range(case.layout.num_devices)}


def test_default_matrix_has_every_choice():
    def seen(cases):
        return {item for case in cases for item in layouts.choices(case).items()}

    full, default = layouts.full_matrix(), layouts.default_matrix()
    assert seen(default) == seen(full)
    pairs, met = [{pair for case in cases for pair in layouts.pairs(case)}
                  for cases in (full, default)]
    assert len(met) > 0.98 * len(pairs)


def test_fast_cases_have_every_model_and_nearly_every_choice():
    def seen(cases):
        return {item for case in cases for item in layouts.choices(case).items()}

    default, fast = layouts.default_matrix(), layouts.default_matrix(per_model=1)
    assert set(fast) <= set(default)
    assert seen(fast) == seen(default)


def test_dropout_differs_between_clones_and_repeats_to_the_bit(tmp_path):
    training = layouts.Training("dropout", "adam", clip=True, resource=False)
    case = layouts.Case(training, layouts.Layout((1, 1), 2, 4, "PreferBackward", layouts.BLOCK))
    with ThreadPoolExecutor(_PROCESSES) as pool:
        sides = [("epl", case), ("epl", case), ("plain", case.reference),
                 ("epl", layouts.Unoptimized(case))]
        futures = [pool.submit(train_all, side, [entry], str(tmp_path / str(number)))
                   for number, (side, entry) in enumerate(sides)]
        outcomes = [next(iter(future.result().values())) for future in futures]
    assert not any(outcome.error for outcome in outcomes)
    one, two, plain, unoptimized = outcomes
    assert_same(unoptimized, one)
    np.testing.assert_array_equal(one.losses, two.losses)
    for name in one.variables:
        np.testing.assert_array_equal(one.variables[name], two.variables[name], err_msg=name)
    clones, rows = case.layout.clones, GLOBAL_BATCH // case.layout.clones
    for number, masks in enumerate(one.masks):
        for layer, mask in enumerate(masks):
            np.testing.assert_array_equal(mask, two.masks[number][layer])
            assert mask.shape == (GLOBAL_BATCH, 8) and set(np.unique(mask)) == {0.0, 2.0}
            assert len({piece.tobytes() for piece in np.split(mask, clones)}) == clones
    for layer, mask in enumerate(one.masks[0]):
        # The first clone has the script's seed: it draws what one device draws for these rows.
        np.testing.assert_array_equal(mask[:rows], plain.masks[0][layer][:rows])
