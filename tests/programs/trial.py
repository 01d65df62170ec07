# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train a program in plain TensorFlow and with EPL, and say what came of it."""

import contextlib
import os
import re
import traceback
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.programs.drawing import ROWS
from tests.programs.inputs import columns, share
from tests.programs.refusals import reviewed
from tests.programs.training import Side, train
from tests.support import loopback

# Outcomes.
EQUAL = "equal"
REFUSED = "refused"  # with one of the reviewed messages
DIFFERENT = "different"
CRASHED = "crashed"  # any other error
UNFIT = "unfit"  # plain TensorFlow fails, or differs from itself without its graph rewriting

# Both sides add the same floats in another order. One addition errs by 6e-8 (32 bits) or 1e-16
# (64 bits) of the larger operand; the hundreds of additions of a step and a few steps make of it
# some hundred times that, relative to the largest element.
TOLERANCE = {"float32": 5e-5, "float64": 1e-9}


class Outcome(NamedTuple):
    """What came of a program.

    Attributes:
      kind: one of the outcomes above.
      detail: what differs, the error, or the words of the reviewed refusal.
    """

    kind: str
    detail: str = ""

    def like(self, other):
        """True if both fail in the same way."""
        return self.kind == other.kind and _gist(self) == _gist(other)


def _gist(outcome):
    """An error without what it says of names; nothing of differences."""
    if outcome.kind == DIFFERENT:
        return ""
    return re.split("['{0-9]", outcome.detail.split("\n")[0])[0]


def trial(program):
    """The `Outcome` of a program; of one of two workers, that of the first that is not equal."""
    try:
        expected = plain(program, optimize=False)
    except Exception as error:
        return Outcome(UNFIT, _told(error))
    try:
        found = parallel(program)
    except Exception as error:
        return failure(program, error)
    outcomes = [compared(program, of_worker, expected) for of_worker in found]
    return next((outcome for outcome in outcomes if outcome.kind != EQUAL), outcomes[0])


def failure(program, error):
    """The outcome of a program that EPL's side raised `error` for."""
    message = reviewed(program, error)
    if message:
        return Outcome(REFUSED, message)
    try:
        plain(program, optimize=True)
    except Exception as of_plain:
        return Outcome(UNFIT, "with graph rewriting: " + _told(of_plain))
    return Outcome(CRASHED, _told(error))


def _told(error):
    """An error in a line, and where it comes from."""
    told = [line for line in str(error).splitlines() if line.strip()]
    return "{}: {}\n{}".format(type(error).__name__, " | ".join(told)[:600], "".join(
        traceback.format_exception(type(error), error, error.__traceback__)))


def compared(program, found, expected):
    """The outcome of a program that both sides have trained."""
    tolerance = _tolerance(program)
    differences = list(_differences("", found._asdict(), expected._asdict(), tolerance))
    if not differences:
        return Outcome(EQUAL)
    for optimize in (False, True):
        other = plain(program, optimize)
        if list(_differences("", other._asdict(), expected._asdict(), tolerance)):
            return Outcome(UNFIT, "plain TensorFlow differs from itself" + (
                " with graph rewriting" if optimize else ""))
    return Outcome(DIFFERENT, "\n".join(differences))


def _tolerance(program):
    # TensorFlow's batch normalisation has its momentum in 32 bits.
    is_exact = all(spec["kind"] != "batch_norm" for spec in program["blocks"])
    return TOLERANCE[program["dtype"] if is_exact else "float32"]


def plain(program, optimize):
    """Train in plain TensorFlow, on the whole batch."""
    layout = program["layout"]
    shards = layout["workers"] * layout["replicas"] * layout["micro_batches"]
    with devices.plain():
        return train(program, Side(share(columns(program["dtype"]), 0, 1, program["shorter"]),
                                   ROWS, shards,
                                   lambda number: contextlib.nullcontext(),
                                   lambda tensor, key: None, optimize))


def parallel(program):
    """What each worker gets; all train in this process, on as many devices as the layout says."""
    layout = program["layout"]
    devices_per_worker = layout["stages"] * layout["replicas"]
    if layout["workers"] > 1:
        return loopback.run(lambda rank: as_worker(program, rank), layout["workers"],
                            devices_per_worker)
    environment = {"EPL_NUM_WORKERS": "1", "EPL_WORKER_INDEX": "0", "EPL_DEVICE_TYPE": "cpu",
                   "EPL_GPU_PER_WORKER": str(devices_per_worker)}
    with mock.patch.dict(os.environ, environment):
        try:
            return [as_worker(program)]
        finally:
            os.environ["EPL_GPU_PER_WORKER"] = "1"
            epl.init()


def as_worker(program, part=0):
    """Train with EPL as this worker, which the environment describes."""
    layout = program["layout"]
    epl.init(epl.Config({"pipeline.num_micro_batch": layout["micro_batches"],
                         "pipeline.strategy": layout["schedule"]}))
    arrays = share(columns(program["dtype"]), part, layout["workers"], program["shorter"])
    clones = layout["workers"] * layout["replicas"] * layout["micro_batches"]
    with tf.Graph().as_default():
        tf.set_random_seed(11)
        return train(program, Side(arrays, ROWS // clones, 0,
                                   lambda number: epl.replicate(1, name=str(number)),
                                   lambda tensor, key: epl.add_to_collection(
                                       tensor, getattr(epl.GraphKeys, key))))


def _differences(name, found, expected, tolerance):
    """Lines that say where nested values differ."""
    if isinstance(expected, dict):
        if set(found) != set(expected):
            yield "{}: {} instead of {}".format(name, sorted(found), sorted(expected))
            return
        for key in sorted(expected):
            exact = tolerance if key != "metrics" else TOLERANCE["float32"]  # those of tf.metrics
            yield from _differences(name + "/" + key, found[key], expected[key], exact)
    elif isinstance(expected, list):
        for number, (one, other) in enumerate(zip(found, expected)):
            yield from _differences("{}[{}]".format(name, number), one, other, tolerance)
    else:
        text = _difference(np.asarray(found), np.asarray(expected), tolerance)
        if text:
            yield "{}: {}".format(name, text)


def _difference(found, expected, tolerance) -> Any:
    if found.shape != expected.shape:
        return "shape {} instead of {}".format(found.shape, expected.shape)
    if found.dtype != expected.dtype:
        return "type {} instead of {}".format(found.dtype, expected.dtype)
    if not np.issubdtype(expected.dtype, np.floating):
        return None if np.array_equal(found, expected) else "{} instead of {}".format(
            found.tolist(), expected.tolist())
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    if np.allclose(found, expected, rtol=0, atol=tolerance * scale, equal_nan=True):
        return None
    return "{} instead of {}".format(np.round(found, 6).tolist(), np.round(expected, 6).tolist())
