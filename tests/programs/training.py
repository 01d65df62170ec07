# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Build a program and train it: the same script for plain TensorFlow and for EPL.

It knows nothing of EPL: stages and registrations are functions that it is given.
"""

import contextlib
from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tests.programs import writes
from tests.programs.blocks import block
from tests.programs.context import Context, seeded
from tests.programs.drawing import STEPS
from tests.programs.inputs import inputs
from tests.programs.losses import apply, gradients, loss

# A step takes milliseconds; operations that wait for each other must not wait for ever.
_STEP_TIMEOUT_MS = 30000


class Side(NamedTuple):
    """How one side runs a program.

    Attributes:
      arrays: the rows that this process reads.
      batch: how many rows a batch of the script has.
      shards: parts that batch normalisation by hand normalises apart; 0: TensorFlow's layer.
      stage: number -> context manager in which that stage is built.
      register: called with (tensor, name of a key of `epl.GraphKeys`).
      optimize: False: graphs run without TensorFlow's rewriting of them.
    """

    arrays: Dict[str, Any]
    batch: int
    shards: int
    stage: Callable[[int], Any]
    register: Callable[[Any, str], None]
    optimize: bool = True


class Found(NamedTuple):
    """What a training gave.

    Attributes:
      fetched: per step, name -> value.
      variables: name -> value after the last step.
      metrics: name -> value after the last step.
      evaluated: per step, what the loss was when it was run by itself before; maybe empty.
    """

    fetched: List[Dict[str, Any]]
    variables: Dict[str, Any]
    metrics: Dict[str, Any]
    evaluated: List[Any]


class _Script(NamedTuple):
    """A built program: the operations that its session runs."""

    inputs: Any
    steps: List[Any]  # (operation, what is fetched with it), run in turn
    metrics: Dict[str, Any]
    loss: Any


def train(program, side):
    """Build and train in the default graph. Returns `Found`."""
    with tf.variable_scope(tf.get_variable_scope(), use_resource=program["resource"],
                           custom_getter=seeded):
        script = _build(program, side)
    return _run(program, script, side)


def _build(program, side):
    tf.train.get_or_create_global_step()
    read = inputs(program["input"], side.arrays, side.batch)
    context = Context(program, read.tensors, side.shards, side.register)
    losses = _model(program, context, side.stage)
    updates, beside = _early_writes(program, context)
    metrics = {kind: writes.metric(kind, losses[0]) for kind in program["metrics"]}
    trainings = _trainings(program, context, losses, updates)
    together = program["together"]
    # If they take turns, what is written from the first loss or after it goes with its step.
    of_first = [writes.write(context, spec, losses[0].value) for spec in program["writes"]
                if spec["kind"] in writes.OF_LOSS and spec["when"] != "after"]
    with tf.control_dependencies([t.operation for t in trainings[:None if together else 1]]):
        of_first += [writes.write(context, spec, losses[0].value) for spec in program["writes"]
                     if spec["when"] == "after"]
    of_first += [update for _, update in metrics.values()]
    steps = [[t.operation for t in trainings]] if together else [[t.operation] for t in trainings]
    operations = [tf.group(*(step + beside + (of_first if not number else [])))
                  for number, step in enumerate(steps)]
    fetches = [dict(_fetches(program, context, losses, trainings), loss=losses[0].value)]
    # What is fetched of a loss with another's step may need rows that this step does not read.
    fetches.append(fetches[0] if "foreign" in program["fetches"] else {"loss": losses[-1].value})
    return _Script(read, list(zip(operations, fetches)),
                   {kind: value for kind, (value, _) in metrics.items()}, losses[0].value)


def _model(program, context, stage):
    """All stages; the losses are in the last."""
    stages, blocks = program["layout"]["stages"], program["blocks"]
    for number in range(stages):
        with stage(number):
            for index, spec in enumerate(blocks):
                if index * stages // (len(blocks) + 1) == number:
                    block(context, spec)
            if number == stages - 1:
                return [loss(context, spec) for spec in program["losses"]]
    raise ValueError("no stages")


def _early_writes(program, context):
    """Writes from the batch: (those in UPDATE_OPS, those that are run beside the step)."""
    beside: List[Any] = []
    for spec in program["writes"]:
        if spec["kind"] not in writes.OF_LOSS and spec["when"] != "after":
            operation = writes.write(context, spec)
            if spec["when"] == "update_ops":
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, operation)
            else:
                beside.append(operation)
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS), beside


def _trainings(program, context, losses, updates):
    """One training operation per loss; all gradients come before all updates of one run."""
    step = tf.train.get_global_step()
    if program["seed"] % 2 and updates:
        updates = [tf.group(*updates)]
    with tf.control_dependencies(updates if program["gradients_after_updates"] else []):
        found = [gradients(context, spec, one.value, _variables(program, number))
                 for number, (spec, one) in enumerate(zip(program["losses"], losses))]
    trainings: List[Any] = []
    for spec, (pairs, optimizer, rate) in zip(program["losses"], found):
        before = list(updates)
        if program["together"]:
            before += [tf.convert_to_tensor(g) for all_pairs, _, _ in found for g, _ in all_pairs]
            before += [rate for _, _, rate in found]  # of steps that the first update counts
            before += [training.operation for training in trainings]
        counted = None if program["together"] and trainings else step
        with tf.control_dependencies(before):
            trainings.append(apply(context, spec, pairs, optimizer, rate, counted))
    return trainings


def _variables(program, number):
    """The variables that a loss trains: all, or every other one."""
    variables = tf.trainable_variables()
    if program["variables"] == "all" or len(program["losses"]) == 1:
        return variables
    return [v for index, v in enumerate(variables) if index % 2 == number] or variables


def _fetches(program, context, losses, trainings):
    """Name -> tensor, what is fetched beside the loss."""
    main, rows = losses[0], losses[0].rows
    foreign = tf.cast(tf.equal(context.inputs["label"], 1), context.dtype)
    made = {
        "identity": lambda: tf.identity(main.value),
        "shifted": lambda: main.value * 2.0 + 1.0,
        "parts": lambda: main.parts[0],
        "summed": lambda: tf.add_n([one.value for one in losses]),
        "rate": lambda: trainings[0].rate,
        "norm": lambda: trainings[0].norm,
        "rows": lambda: _registered(context, tf.identity(rows), "GLOBAL_CONCAT_OBJECTS"),
        "predictions": lambda: _registered(context, tf.identity(main.outputs),
                                           "GLOBAL_CONCAT_OBJECTS"),
        "accuracy": lambda: _registered(context, tf.reduce_mean(main.hits), "GLOBAL_MEAN_OBJECTS"),
        "hits": lambda: _registered(context, tf.reduce_sum(main.hits), "GLOBAL_SUM_OBJECTS"),
        "foreign": lambda: _registered(context, tf.reduce_mean(rows * foreign),
                                       "GLOBAL_MEAN_OBJECTS"),
        "summary": lambda: tf.summary.scalar("loss", main.value),
        "unregistered_rows": lambda: tf.identity(rows),
        "unregistered_accuracy": lambda: tf.reduce_mean(main.hits),
    }
    return {name: made[name]() for name in program["fetches"]}


def _registered(context, tensor, key):
    context.register(tensor, key)
    return tensor


def _run(program, script, side):
    fetched, evaluated = [], []
    config = tf.ConfigProto(operation_timeout_in_ms=_STEP_TIMEOUT_MS)
    if not side.optimize:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    results: Dict[str, Any] = {}
    with _session(program, script, config, results) as session:
        for number in range(STEPS):
            feeds = script.inputs.feeds(session, number)
            if program["evaluate"] and script.inputs.fed:
                evaluated.append(session.run(script.loss, feeds))
            values, _ = session.run(script.steps[number % len(script.steps)][::-1], feeds)
            fetched.append({name: _value(value) for name, value in values.items()})
        results.update(session.run({"variables": {v.name: v for v in tf.global_variables()},
                                    "metrics": script.metrics}))
    return Found(fetched, results["variables"], results["metrics"], evaluated)


def _value(value):
    """A fetched value; what a summary says if it is one."""
    if isinstance(value, bytes):
        return np.array([v.simple_value for v in tf.Summary.FromString(value).value])
    return value


@contextlib.contextmanager
def _session(program, script, config, results):
    if program["session"] == "monitored":
        scaffold = tf.train.Scaffold(
            local_init_op=tf.group(tf.local_variables_initializer(), tf.tables_initializer(),
                                   *script.inputs.initializers))
        with tf.train.MonitoredTrainingSession(
                scaffold=scaffold, config=config, save_summaries_steps=None,
                save_summaries_secs=None, log_step_count_steps=None) as session:
            yield session
        return
    with tf.Session(config=config) as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        session.run(script.inputs.initializers)
        coordinator, threads = tf.train.Coordinator(), []
        if script.inputs.runners:
            threads = tf.train.start_queue_runners(session, coordinator)
        yield session
        coordinator.request_stop()
        coordinator.join(threads)
