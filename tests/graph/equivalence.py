# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train cases: with EPL on virtual devices, or in plain TensorFlow with the whole batch on one.

Usage: python -m tests.graph.equivalence plain|epl INPUT OUTPUT

INPUT holds a pickled list: of `layouts.Case` and `layouts.Unoptimized` for "epl", of
`layouts.Reference` for "plain". After each one (entry, `layouts.Outcome`) is appended to OUTPUT, so
that what was done survives a crash.
"""

import contextlib
import os
import pickle
import sys
import traceback
import zlib

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support import haste, layouts, staged_models
from tests.support.layouts import MODELS, Outcome
from tests.support.staged_models import GLOBAL_BATCH, STEPS

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)

# A step takes milliseconds. Operations that wait for each other must not wait for ever.
_STEP_TIMEOUT_MS = 60000


class Inputs:
    """Brings rows into a graph, `batch` at a time, in their order.

    Attributes:
      tensors: name -> tensor; what the model reads.
      start: called with the session before the first step.
      feeds: number of a step -> feed_dict.
      stop: called after the last step.
    """

    def __init__(self, tensors, start=lambda session: None, feeds=lambda number: {},
                 stop=lambda: None):
        self.tensors, self.start, self.feeds, self.stop = tensors, start, feeds, stop


def _placeholders(columns, unused_batch):
    """Any number of rows; every step is fed the global batch."""
    tensors = {name: tf.placeholder(array.dtype, (None,) + array.shape[1:], name=name)
               for name, array in columns.items()}

    def feeds(number):
        first = number * GLOBAL_BATCH
        return {tensors[n]: array[first:first + GLOBAL_BATCH] for n, array in columns.items()}

    return Inputs(tensors, feeds=feeds)


def _fed(columns, batch):
    """The same, and two placeholders of a known shape, which all rows share."""
    rows = _placeholders(columns, batch)
    rate = tf.placeholder(tf.float32, [], "rate")
    mask = tf.placeholder(tf.float32, [8], "mask")
    if "epl" in sys.modules:
        sys.modules["epl"].share_feed(mask)

    def feeds(number):
        fixed = {rate: 1.0 - 0.05 * number, mask: (np.arange(8) % 3 < 2) * (1.0 + 0.1 * number)}
        return {**rows.feeds(number), **fixed}

    return Inputs(dict(rows.tensors, rate=rate, mask=mask), feeds=feeds)


def _dataset(columns, batch, static):
    return tf.data.Dataset.from_tensor_slices(columns).batch(batch, drop_remainder=static)


def _one_shot(columns, batch):
    """An iterator that needs no initialisation; the number of rows is not in the shapes."""
    return Inputs(tf.data.make_one_shot_iterator(_dataset(columns, batch, False)).get_next())


def _initializable(columns, batch):
    """An iterator with an initializer; the number of rows is in the shapes."""
    iterator = tf.data.make_initializable_iterator(_dataset(columns, batch, True))
    return Inputs(iterator.get_next(), start=lambda session: session.run(iterator.initializer))


def _feedable(columns, batch):
    """Every step is fed the handle of the iterator to read from."""
    dataset = _dataset(columns, batch, False)
    source = tf.data.make_initializable_iterator(dataset)
    handle = tf.placeholder(tf.string, [], "iterator_handle")
    iterator = tf.data.Iterator.from_string_handle(
        handle, tf.data.get_output_types(dataset), tf.data.get_output_shapes(dataset))
    fed = {}

    def start(session):
        session.run(source.initializer)
        fed[handle] = session.run(source.string_handle())

    return Inputs(iterator.get_next(), start=start, feeds=lambda number: fed)


def _queue(columns, batch):
    """The queues of `tf.train`, filled by the threads of queue runners."""
    ordered = sorted(columns)
    rows = tf.train.slice_input_producer([columns[name] for name in ordered], shuffle=False)
    tensors = tf.train.batch(rows, batch)
    tensors = tensors if len(ordered) > 1 else [tensors]
    coordinator, threads = tf.train.Coordinator(), []

    def stop():
        coordinator.request_stop()
        coordinator.join(threads)

    return Inputs(
        dict(zip(ordered, tensors)), stop=stop,
        start=lambda session: threads.extend(tf.train.start_queue_runners(session, coordinator)))


INPUTS = {"placeholders": _placeholders, "fed": _fed, "one_shot": _one_shot,
          "initializable": _initializable, "feedable": _feedable, "queue": _queue}


class DecayedMomentum(tf.train.Optimizer):
    """Momentum with weight decay, as BERT's optimizer written around `apply_gradients` alone.

    It has variables of its own instead of slots, and leaves the global step to the script.
    """

    def __init__(self, rate):
        super().__init__(False, "DecayedMomentum")
        self._rate = rate

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        updates = []
        for gradient, variable in grads_and_vars:
            if gradient is None:
                continue
            momentum = tf.get_variable(variable.op.name + "/momentum", variable.shape,
                                       initializer=tf.zeros_initializer(), trainable=False)
            following = 0.9 * momentum + tf.convert_to_tensor(gradient)
            updates.append(variable.assign(
                variable - self._rate * (following + 0.01 * variable)))
            updates.append(momentum.assign(following))
        return tf.group(*updates, name=name)


def optimizer(name, rate=1.0):
    if name == "sgd":
        return tf.train.GradientDescentOptimizer(0.1 * rate)
    if name == "momentum":
        return tf.train.MomentumOptimizer(0.05 * rate, 0.9)
    if name == "adam":
        # It divides by the size of a gradient plus epsilon. With the usual 1e-8 an element whose
        # gradient is nothing but rounding (1e-9) moves as far as any other.
        return tf.train.AdamOptimizer(0.01 * rate, epsilon=1e-4)
    return DecayedMomentum(0.05 * rate)


def seeded(getter, name, *args, initializer=None, **kwargs):
    """A custom getter: random initial values depend on the variable's name, on nothing else."""
    if initializer is None or hasattr(initializer, "seed"):
        initializer = tf.glorot_uniform_initializer(seed=zlib.crc32(name.encode()) % 2 ** 31)
    return getter(name, *args, initializer=initializer, **kwargs)


def train_op(training, loss, rate):
    """The update, as a script writes it."""
    spec, step = MODELS[training.model], tf.train.get_global_step()
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    chosen = optimizer(training.optimizer, rate)
    with tf.control_dependencies(updates if spec.gradients_after_updates else []):
        gradients = chosen.compute_gradients(loss)
    if training.clip:
        gradients, variables = zip(*[pair for pair in gradients if pair[0] is not None])
        gradients = list(zip(tf.clip_by_global_norm(gradients, 0.1)[0], variables))
    with tf.control_dependencies(updates + ([loss] if spec.apply_after_loss else [])):
        if isinstance(chosen, DecayedMomentum):
            with tf.control_dependencies([chosen.apply_gradients(gradients)]):
                return step.assign_add(1).op
        return chosen.apply_gradients(gradients, global_step=step)


def train(training, model, batch, stage, num_stages, on_masks=lambda masks: None,
          optimized=True):
    """Ten steps of `model(inputs, stage, num_stages)`, inputs with `batch` rows.

    `on_masks` is called with the dropout masks of the model. TensorFlow's graph optimizers look at
    the graph if it is to be `optimized`.
    """
    spec = MODELS[training.model]
    with tf.Graph().as_default() as graph, _control_flow(spec.control_flow_v2):
        tf.set_random_seed(11)
        inputs = INPUTS[spec.inputs](staged_models.data(spec.columns), batch)
        with tf.variable_scope(tf.get_variable_scope(), use_resource=training.resource,
                               custom_getter=seeded):
            tf.train.get_or_create_global_step()
            loss = model(inputs.tensors, stage, num_stages)
            masks = tf.get_collection(staged_models.MASKS)
            on_masks(masks)
            update = train_op(training, loss, inputs.tensors.get("rate", 1.0))
        config = tf.ConfigProto(operation_timeout_in_ms=_STEP_TIMEOUT_MS)
        config.graph_options.rewrite_options.disable_meta_optimizer = not optimized
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            inputs.start(session)
            fetched = [session.run([loss, masks, update], inputs.feeds(number))
                       for number in range(STEPS)]
            inputs.stop()
            variables = session.run({v.name: v for v in tf.global_variables()})
            devices = {op.device for op in graph.get_operations()}
            return Outcome(np.array([step[0] for step in fetched]), variables,
                           [step[1] for step in fetched], sorted(devices))


@contextlib.contextmanager
def _control_flow(version_2):
    if version_2:
        tf.enable_control_flow_v2()
    try:
        yield
    finally:
        tf.disable_control_flow_v2()


def run_plain(reference):
    spec = MODELS[reference.training.model]
    model = spec.by_hand(reference.shards) if spec.by_hand else spec.model
    return train(reference.training, model, GLOBAL_BATCH,
                 lambda number: contextlib.nullcontext(), 1)


def run_epl(entry):
    import epl

    optimized = not isinstance(entry, layouts.Unoptimized)
    case = entry if optimized else entry.case
    stage = start_epl(case.layout)
    built_in = 1 if case.layout.annotation == layouts.AUTOMATIC else len(case.layout.devices)
    return train(case.training, MODELS[case.training.model].model,
                 GLOBAL_BATCH // case.layout.clones, stage, built_in,
                 lambda masks: epl.add_to_collection(masks, epl.GraphKeys.GLOBAL_CONCAT_OBJECTS),
                 optimized)


def start_epl(layout):
    """`epl.init` for a layout. Returns what builds stage i: a context manager."""
    import epl

    os.environ["EPL_GPU_PER_WORKER"] = str(layout.num_devices)
    options = {"pipeline.num_micro_batch": layout.micro_batches,
               "pipeline.strategy": layout.schedule, "pipeline.num_chunks": layout.chunks}
    if layout.annotation == layouts.AUTOMATIC:
        options.update({"auto.auto_parallel": True, "pipeline.num_stages": len(layout.devices)})
    epl.init(epl.Config(options))

    def stage(number):
        if layout.annotation == layouts.AUTOMATIC:
            return contextlib.nullcontext()
        strategy = epl.replicate(layout.devices[number], name="stage_{}".format(number))
        if layout.annotation == layouts.BLOCK:
            return strategy
        epl.set_default_strategy(strategy)
        return contextlib.nullcontext()

    return stage


def main():
    side, source, target = sys.argv[1:]
    haste.begin()
    run = {"plain": run_plain, "epl": run_epl}[side]
    with open(source, "rb") as file:
        entries = pickle.load(file)
    for entry in entries:
        try:
            outcome = run(entry)
        except Exception:
            outcome = Outcome(error=traceback.format_exc())
        with open(target, "ab") as file:
            pickle.dump((entry, outcome), file)
    assert side == "epl" or not {"epl", "horovod"} & set(sys.modules)


if __name__ == "__main__":
    main()
