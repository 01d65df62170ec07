# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Ways to train a model whose replicas lie on several workers, a stage on each.

Usage: team_kinds.py DIRECTORY all|PART[,PART ...] [VICTIM]

All models but those of Keras are a `Fit`: the weight after n steps is `devices.weight_after(n)`.
What each part found is in the report. In some of them something happens to one worker.
"""

import os
import signal
import sys

import tensorflow.compat.v1 as tf

import epl
from tests.dist.jobs import common
from tests.graph import devices

ROWS = devices.ROWS
DIRECTORY = sys.argv[1]
VICTIM = int((sys.argv + ["0"])[3])


def stage(number):
    return epl.replicate(1, name="stage_{}".format(number))


def cluster():
    return epl.Env.get().cluster


def feed(model):
    return {model.x: ROWS}


class AtStep(tf.train.SessionRunHook):
    """Calls `function` after the run number `step`, on worker `rank` alone."""

    def __init__(self, step, function, rank):
        self._step, self._function, self._rank = step, function, rank
        self.runs = 0

    def after_run(self, run_context, run_values):
        self.runs += 1
        if self.runs == self._step and cluster().worker_index == self._rank:
            self._function()


def interactive():
    """InteractiveSession, Tensor.eval, Operation.run and Variable.load."""
    with tf.Graph().as_default():
        model = devices.fit(stage)
        session = tf.InteractiveSession()
        tf.global_variables_initializer().run()
        model.train.run(feed(model))
        found = [model.weight.eval()]
        model.weight.load(0.0, session)
        model.train.run(feed(model))
        found.append(model.weight.eval())
        session.close()
        return found


def callables():
    """`Session.make_callable`, with feeds and without."""
    with tf.Graph().as_default():
        model = devices.fit(stage)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            step = session.make_callable([model.loss, model.train], [model.x])
            return [step(ROWS)[0], step(ROWS)[0], session.make_callable(model.weight)()]


def two_sessions():
    """Two sessions on one graph, in turns: each has its own variables."""
    with tf.Graph().as_default():
        model, init = devices.fit(stage), tf.global_variables_initializer()
        one, two = tf.Session(), tf.Session()
        one.run(init)
        two.run(init)
        for session in (one, two, one):
            session.run(model.train, feed(model))
        return [one.run(model.weight), two.run(model.weight)]


def session_after_another():
    """A second session begins anew."""
    with tf.Graph().as_default():
        model, init, found = devices.fit(stage), tf.global_variables_initializer(), []
        for _ in range(2):
            with tf.Session() as session:
                session.run(init)
                session.run(model.train, feed(model))
                found.append(session.run(model.weight))
        return found


def two_graphs():
    """Two graphs, in turns."""
    parts = []
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            model, session = devices.fit(stage), tf.Session(graph=graph)
            session.run(tf.global_variables_initializer())
            parts.append((session, model))
    for index in (0, 1, 0):
        session, model = parts[index]
        session.run(model.train, feed(model))
    return [session.run(model.weight) for session, model in parts]


def two_optimizers():
    """Two losses with an optimizer each."""
    with tf.Graph().as_default():
        with stage(0):
            x = tf.placeholder(tf.float32, [None], "x")
            one, two = [tf.get_variable(name, [], initializer=tf.zeros_initializer())
                        for name in ("one", "two")]
            apart = [x - one, x - two]
        with stage(1):
            losses = [tf.reduce_mean(tf.square(each)) for each in apart]
        train = tf.train.GradientDescentOptimizer(0.25).minimize(losses[0], var_list=[one])
        also = tf.train.MomentumOptimizer(0.25, 0.9).minimize(losses[1], var_list=[two])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for op in (train, also, train):
                session.run(op, {x: ROWS})
            return session.run([one, two])


def recovery():
    """The victim's session is lost before its fourth step."""
    class Lose(tf.train.SessionRunHook):
        runs = 0

        def before_run(self, run_context):
            self.runs += 1
            if self.runs == 4 and cluster().worker_index == VICTIM:
                raise tf.errors.AbortedError(None, None, "the session is lost")

    with tf.Graph().as_default():
        model = devices.fit(stage)
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=os.path.join(DIRECTORY, "recovery"),
                hooks=[Lose(), tf.train.StopAtStepHook(last_step=6)]) as session:
            while not session.should_stop():
                session.run(model.train, feed(model))


def stop(function):
    """Training without end, until `function` is called on the victim after its third step."""
    with tf.Graph().as_default():
        model, hook = devices.fit(stage), AtStep(3, function, VICTIM)
        directory = os.path.join(DIRECTORY, "stop")
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=directory, save_checkpoint_steps=1000, hooks=[hook]) as session:
            while not session.should_stop():
                session.run(model.train, feed(model))
        path = tf.train.latest_checkpoint(directory)
        return [hook.runs, float(tf.train.load_variable(path, "w"))]


def request_stop():
    return stop(epl.request_stop)


def sigterm():
    return stop(lambda: os.kill(os.getpid(), signal.SIGTERM))


def hooks():
    """Hooks that fetch, log, count and stop, each on another worker."""
    logged = []

    class Fetches(tf.train.SessionRunHook):
        def __init__(self, tensors):
            self._tensors = tensors

        def before_run(self, run_context):
            return tf.train.SessionRunArgs(self._tensors)

        def after_run(self, run_context, run_values):
            logged.append([float(value) for value in run_values.results])

    with tf.Graph().as_default():
        model, rank = devices.fit(stage), cluster().worker_index
        tf.summary.scalar("loss", model.loss)
        last = cluster().worker_num - 1
        chosen = [Fetches([model.loss, model.step])] if rank == last else []
        chosen += [tf.train.LoggingTensorHook({"w": model.weight}, every_n_iter=1),
                   tf.train.NanTensorHook(model.loss)] if rank == 0 else []
        chosen += [tf.train.StopAtStepHook(last_step=3)] if rank == 1 else []
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=os.path.join(DIRECTORY, "hooks"), save_summaries_steps=1,
                log_step_count_steps=1, hooks=chosen) as session:
            while not session.should_stop():
                session.run(model.train, feed(model))
        events = [name for name in os.listdir(os.path.join(DIRECTORY, "hooks"))
                  if name.startswith("events")]
        return [logged, len(events)]


def build_model_fn(train_always=False):
    """A `model_fn`; it builds the training step in mode TRAIN only, or in every mode."""
    def model_fn(features, labels, mode):
        del labels
        training = mode == tf.estimator.ModeKeys.TRAIN
        model = devices.fit(stage, x=features["x"], trains=training or train_always)
        shown = {"w": tf.identity(model.weight) + 0.0 * features["x"]}
        return tf.estimator.EstimatorSpec(
            mode, predictions=shown, loss=model.loss, train_op=model.train if training else None,
            eval_metric_ops={"mean": tf.metrics.mean(features["x"])},
            export_outputs={"serving_default": tf.estimator.export.PredictOutput(shown)})

    return model_fn


def input_fn(repeat=None):
    rows = tf.data.Dataset.from_tensor_slices({"x": ROWS}).repeat(repeat)
    return rows.batch(4)


def estimator():
    """train, evaluate, train_and_evaluate, predict, export."""
    directory = os.path.join(DIRECTORY, "estimator")
    built = tf.estimator.Estimator(build_model_fn(), directory, tf.estimator.RunConfig(
        tf_random_seed=1, save_checkpoints_steps=2, log_step_count_steps=1))
    built.train(input_fn, steps=3)
    first = built.evaluate(lambda: input_fn(1))
    metrics, _ = tf.estimator.train_and_evaluate(
        built, tf.estimator.TrainSpec(input_fn, max_steps=5),
        tf.estimator.EvalSpec(lambda: input_fn(1), throttle_secs=0, steps=None))
    built.train(lambda: input_fn(2))  # to the end of the data: two steps
    last = built.evaluate(lambda: input_fn(1))
    predicted = [float(each["w"]) for each in built.predict(lambda: input_fn(1))]
    served = None
    if cluster().is_chief:
        exported = built.export_saved_model(
            os.path.join(DIRECTORY, "exported"),
            tf.estimator.export.build_raw_serving_input_receiver_fn(
                {"x": tf.placeholder(tf.float32, [None], "x_served")}))
        with tf.Graph().as_default(), tf.Session() as session:
            loaded = tf.saved_model.loader.load(session, ["serve"], exported)
            signature = loaded.signature_def["serving_default"]
            served = session.run(signature.outputs["w"].name,
                                 {signature.inputs["x"].name: ROWS[:2]}).tolist()
    return [[first, metrics, last], predicted, served, float(built.get_variable_value("w"))]


def trains_in_every_mode():
    """The `model_fn` builds the training step to evaluate as well."""
    built = tf.estimator.Estimator(
        build_model_fn(train_always=True), os.path.join(DIRECTORY, "every_mode"),
        tf.estimator.RunConfig(tf_random_seed=1, save_checkpoints_steps=2))
    built.train(input_fn, steps=3)
    tf.estimator.train_and_evaluate(
        built, tf.estimator.TrainSpec(input_fn, max_steps=5),
        tf.estimator.EvalSpec(lambda: input_fn(1), throttle_secs=0, steps=None))


def keras():
    """`Model.fit` in graph mode, of a model in two stages."""
    features, labels = devices.data(16)
    with tf.Graph().as_default():
        tf.keras.backend.set_session(None)
        with stage(0):
            inputs = tf.keras.Input([3])
            hidden = tf.keras.layers.Dense(
                4, "tanh", kernel_initializer=tf.keras.initializers.Constant(0.1))(inputs)
        with stage(1):
            outputs = tf.keras.layers.Dense(
                1, kernel_initializer=tf.keras.initializers.Constant(0.2))(hidden)
        model = tf.keras.Model(inputs, outputs)
        model.compile(tf.train.GradientDescentOptimizer(0.25), "mse")
        done = model.fit(features, labels, batch_size=16, epochs=2, verbose=0, shuffle=False)
        values = [value.ravel().tolist() for value in model.get_weights()]
        evaluated = float(model.evaluate(features, labels, batch_size=16, verbose=0))
        return [done.history["loss"], values, evaluated]


def keras_layers():
    """Layers of Keras, trained by a session."""
    features, labels = devices.data(16)
    with tf.Graph().as_default():
        x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 1])
        with stage(0):
            hidden = tf.keras.layers.Dense(
                4, "tanh", kernel_initializer=tf.keras.initializers.Constant(0.1))(x)
        with stage(1):
            outputs = tf.keras.layers.Dense(
                1, kernel_initializer=tf.keras.initializers.Constant(0.2))(hidden)
            loss = tf.reduce_mean(tf.square(outputs - y))
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            losses = [session.run([loss, train], {x: features, y: labels})[0] for _ in range(2)]
            return [losses, [v.ravel().tolist() for v in session.run(tf.trainable_variables())]]


PARTS = (interactive, callables, two_sessions, session_after_another, two_graphs, two_optimizers,
         hooks, estimator, keras, keras_layers)
ALONE = (trains_in_every_mode, recovery, request_stop, sigterm)  # nothing comes after them


def main():
    epl.init(epl.Config({"pipeline.num_micro_batch": 2}))
    named = {part.__name__: part for part in PARTS + ALONE}
    names = [part.__name__ for part in PARTS] if sys.argv[2] == "all" else sys.argv[2].split(",")
    common.report(**{name: named[name]() for name in names})


if __name__ == "__main__":
    main()
