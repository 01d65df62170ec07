# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""zero.level: optimizer state is shared out over the workers, and training stays what it was.

Two and four workers as threads. Each training is compared with one device on the whole batch, and
to the bit with the same workers without the key.
"""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl import compat
from epl.errors import ConfigError, RewriteError
from epl.ir.graph_state import state_of
from epl.ir.ownership import Rows, ownership_of
from epl.ops.adam_weight_decay_optimizer import AdamWeightDecayOptimizer
from epl.rewrite import zero
from epl.rewrite.groups import groups_of
from epl.runtime import held_state, streamed_save
from tests.graph import devices
from tests.support import loopback
from tests.support.optimizers import Shrinking

tf.disable_v2_behavior()

ROWS, STEPS = 16, 4
random = np.random.RandomState(5)
IDS = random.randint(0, 50, [STEPS, ROWS]).astype(np.int32)
X = random.randn(STEPS, ROWS, 6).astype(np.float32)
Y = random.randn(STEPS, ROWS, 1).astype(np.float32)


class Scaled(tf.train.Optimizer):
    """One whose update divides by the norm of what it keeps: no row is updated by itself."""

    def __init__(self):
        super().__init__(False, "Scaled")

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "mean", "mean")

    def _apply_dense(self, grad, var):
        mean = self.get_slot(var, "mean")
        after = mean.assign(0.9 * mean + 0.1 * grad)
        return var.assign_sub(0.1 * after / (1.0 + tf.norm(after)))

    _resource_apply_dense = _apply_dense

    def _apply_sparse_duplicate_indices(self, grad, var):
        return self._apply_dense(tf.convert_to_tensor(grad), var)

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices):
        return self._apply_dense(
            tf.math.unsorted_segment_sum(grad, indices, handle.shape[0]), handle)


def clipped(optimizer, loss):
    pairs = optimizer.compute_gradients(loss)
    gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 0.5)
    return optimizer.apply_gradients(zip(gradients, [v for _, v in pairs]),
                                     global_step=tf.train.get_or_create_global_step())


def if_finite(optimizer, loss):
    """As loss scaling skips a step: the updates are in a branch."""
    pairs = optimizer.compute_gradients(loss)
    step = tf.train.get_or_create_global_step()
    norm = tf.global_norm([g for g, _ in pairs])
    taken = tf.logical_and(tf.is_finite(norm), tf.not_equal(step, 2))
    with tf.control_dependencies([tf.cond(
            taken, lambda: optimizer.apply_gradients(pairs), tf.no_op)]):
        return tf.assign_add(step, 1)


def decayed(train):
    """Every variable is written again when all are updated."""
    with tf.control_dependencies([train]):
        return tf.group(*[v.assign_sub(0.01 * tf.ones_like(v)) for v in tf.trainable_variables()])


def averaged(train):
    with tf.control_dependencies([train]):
        return tf.train.ExponentialMovingAverage(0.9).apply(tf.trainable_variables())


def each_clipped(optimizer, loss):
    """By the norm of each gradient, and by that of all that is left."""
    pairs = [(tf.clip_by_norm(tf.convert_to_tensor(gradient), 0.1), variable)
             for gradient, variable in optimizer.compute_gradients(loss)]
    gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], 0.15)
    return optimizer.apply_gradients(zip(gradients, [v for _, v in pairs]))


def if_all_finite(optimizer, loss):
    """A rate that is 0 where a gradient is not finite, and one that follows their size."""
    pairs = optimizer.compute_gradients(loss)
    dense = [tf.convert_to_tensor(gradient) for gradient, _ in pairs]
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(gradient)) for gradient in dense])
    some = tf.reduce_any([tf.reduce_any(gradient > 1e6) for gradient in dense])
    size = tf.add_n([tf.reduce_mean(tf.abs(gradient)) for gradient in dense])
    rate = tf.where(tf.logical_and(finite, tf.logical_not(some)), 1.0, 0.0) / (1.0 + size)
    return optimizer.apply_gradients([(rate * gradient, variable) for gradient, (
        _, variable) in zip(dense, pairs)])


def two_optimizers(loss):
    """Those of the table and of the rest, as one step."""
    table = [v for v in tf.trainable_variables() if v.op.name == "table"]
    rest = [v for v in tf.trainable_variables() if v not in table]
    return tf.group(tf.train.AdagradOptimizer(0.1).minimize(loss, var_list=table),
                    tf.train.AdamOptimizer(0.01).minimize(loss, var_list=rest))


TRAIN = {
    "adam": lambda loss: tf.train.AdamOptimizer(0.01).minimize(loss),
    "adam_clipped": lambda loss: clipped(tf.train.AdamOptimizer(0.01), loss),
    "adagrad": lambda loss: tf.train.AdagradOptimizer(0.1).minimize(loss),
    "sgd": lambda loss: tf.train.GradientDescentOptimizer(0.1).minimize(loss),
    "rms": lambda loss: tf.train.RMSPropOptimizer(0.01, momentum=0.5).minimize(loss),
    "ftrl": lambda loss: tf.train.FtrlOptimizer(0.1).minimize(loss),
    "weight_decay": lambda loss: clipped(
        AdamWeightDecayOptimizer(0.01, 0.1, exclude_from_weight_decay=["bias"]), loss),
    "own": lambda loss: Shrinking().minimize(loss),
    "norms": lambda loss: Scaled().minimize(loss),
    "in_a_branch": lambda loss: if_finite(tf.train.AdamOptimizer(0.01), loss),
    "decay_behind": lambda loss: decayed(tf.train.AdamOptimizer(0.01).minimize(loss)),
    "average_behind": lambda loss: averaged(tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)),
    "two_optimizers": two_optimizers,
    "each_clipped": lambda loss: each_clipped(tf.train.AdagradOptimizer(0.1), loss),
    "if_finite": lambda loss: if_all_finite(tf.train.MomentumOptimizer(0.1, 0.9), loss),
}


# What is put together of parts of gradients is rounded otherwise.
NORMS = ("adam_clipped", "weight_decay", "own", "in_a_branch", "each_clipped", "if_finite")


def build(train, resource):
    ids = tf.placeholder(tf.int32, [None])
    x, y = tf.placeholder(tf.float32, [None, 6]), tf.placeholder(tf.float32, [None, 1])
    draw = np.random.RandomState(1)

    def variable(name, *shape):
        return tf.get_variable(name, initializer=0.3 * draw.randn(*shape).astype(np.float32))

    with tf.variable_scope("", use_resource=resource):
        hidden = tf.nn.embedding_lookup(variable("table", 50, 8), ids)
        hidden += tf.matmul(x, variable("kernel", 6, 8)) + variable("bias", 8)
        loss = tf.reduce_mean(tf.square(
            tf.matmul(tf.tanh(hidden), variable("head", 8, 1)) - y))
        return (ids, x, y), loss, TRAIN[train](loss)


def rows_of(rank, workers, step):
    own = slice(rank * ROWS // workers, (rank + 1) * ROWS // workers)
    return IDS[step, own], X[step, own], Y[step, own]


def trained(train, resource, rank=0, workers=1):
    feeds, loss, step = build(train, resource)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [session.run([loss, step], dict(zip(feeds, rows_of(rank, workers, number))))[0]
                  for number in range(STEPS)]
        return losses, session.run({v.name: v for v in tf.global_variables()})


def begin(level="v0", **more):
    epl.init(epl.Config(dict({"zero.level": level}, **more)))
    epl.set_default_strategy(epl.replicate(device_count=1))


def job(body, workers=2, level="v0", **more):
    def work(rank):
        begin(level, **more)
        return body(rank)

    return loopback.run(work, workers)


def assert_same(found, expected, **tolerance):
    for (losses, variables), (others, values) in zip(found, expected):
        np.testing.assert_allclose(losses, others, **tolerance)
        assert set(variables) == set(values)
        for name in values:
            np.testing.assert_allclose(variables[name], values[name], err_msg=name, **tolerance)


@pytest.fixture(scope="module")
def references():
    """(training, resource, workers) -> what workers that hold all find; what one device finds."""
    known = {}

    def of(train, resource, workers):
        if (train, resource, workers) not in known:
            alike = job(lambda rank: trained(train, resource, rank, workers), workers, "")
            with devices.plain():
                known[train, resource, workers] = alike, trained(train, resource)
        return known[train, resource, workers]

    return of


CASES = [(train, *kind) for train in sorted(set(TRAIN) - {"sgd"})
         for kind in ((False, "v0"), (True, "v1"))] + [
    (train, *kind) for train in ("adam_clipped", "own", "weight_decay")
    for kind in ((True, "v0"), (False, "v1"))] + [
    (train, resource, "v2") for train, resource in (
        ("adam_clipped", True), ("weight_decay", False), ("norms", True), ("decay_behind", False),
        ("decay_behind", True), ("two_optimizers", False), ("sgd", True), ("own", True),
        ("average_behind", True), ("in_a_branch", False))]
# Used in a way that is not known to need their value alone.
WHOLE = ("average_behind", "in_a_branch")


@pytest.mark.parametrize("train, resource, level", CASES, ids=[
    "{}-{}-{}".format(train, "resource" if resource else "ref", level)
    for train, resource, level in CASES])
def test_training_is_that_of_one_device_and_of_workers_that_hold_all(
        train, resource, level, references):
    workers = 4 if train in ("adam_clipped", "weight_decay", "in_a_branch") else 2
    held = []

    def work(rank):
        found = trained(train, resource, rank, workers)
        graph = tf.get_default_graph()
        record = state_of(graph).known(zero.Zero)
        held.append((len(ownership_of(graph).shared_out), len(record.parts),
                     sorted(key.name for key in record.parameters.rows)))
        return found

    found = job(work, workers, level)
    assert held == held[:1] * workers and held[0][0] and (held[0][1] > 0) == (level != "v0")
    assert held[0][2] == (["bias", "head", "kernel", "table"]
                          if level == "v2" and train not in WHOLE else [])
    alike, plain = references(train, resource, workers)
    if level == "v0" or train not in NORMS:
        assert_same(found, alike, rtol=0, atol=0)
    assert_same(found, [plain] * workers, rtol=1e-5, atol=1e-6)


def bytes_held(session, rank):
    """Of the state: on this worker, and of all of it."""
    ownership, graph = ownership_of(session.graph), session.graph
    own = whole = 0
    for variable in tf.global_variables():
        key = compat.variable_key(variable)
        if ownership.rows(key) is None:
            continue
        read = state_of(graph).known(zero.Zero).reads[key]
        own += session.run(read).nbytes
        whole += variable.shape.num_elements() * variable.dtype.base_dtype.size
    return own, whole


@pytest.mark.parametrize("workers, resource, level", [
    (2, False, "v0"), (2, True, "v1"), (4, True, "v0"), (4, False, "v2"), (2, True, "v2")])
def test_no_worker_holds_much_more_than_its_part(workers, resource, level):
    """Half of the state is one table's."""
    def work(rank):
        widths = [32, 64, 32, 32, 16, 16]
        x = tf.placeholder_with_default(np.ones([4, 1], np.int32), [None, 1])
        with tf.variable_scope("", use_resource=resource):
            hidden = tf.reduce_sum(tf.nn.embedding_lookup(
                tf.get_variable("table", [257, 32]), x), 1)
            for number, (before, after) in enumerate(zip(widths, widths[1:])):
                hidden = tf.tanh(tf.matmul(hidden, tf.get_variable(
                    "kernel_{}".format(number), [before, after])) + tf.get_variable(
                        "bias_{}".format(number), [after]))
            step = tf.train.AdamOptimizer().minimize(tf.reduce_mean(hidden))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(step)
            return bytes_held(session, rank)

    for own, whole in job(work, workers, level):
        assert own <= whole / workers * 1.05
        assert whole == (3 if level == "v2" else 2) * 4 * (
            257 * 32 + 32 * 64 + 64 * 32 + 32 * 32 + 32 * 16 + 16 * 16 + 64 + 32 + 32 + 16 + 16)


def test_an_update_that_is_no_row_by_row_one_is_held_by_one_worker():
    def work(rank):
        trained("norms", True, rank, 2)
        graph = tf.get_default_graph()
        return ownership_of(graph).rows(graph.get_operation_by_name("table/mean"))

    rows, other = job(work)
    assert rows == other and sorted(rows) == [(0, 0), (0, 50)]


def test_an_optimizer_that_keeps_nothing_leaves_nothing_to_share():
    def work(rank):
        _, loss, _ = build("adam", True)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        del step
        graph = tf.Graph()
        with graph.as_default():
            epl.set_default_strategy(epl.replicate(device_count=1))
            weight = tf.get_variable("w", [4])
            step = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(weight))
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(step)
            return ownership_of(graph).shared_out

    assert job(work) == [[], []]


def saved(saver, session, path):
    return saver.save(session, path)


@pytest.mark.parametrize("resource, level", [
    (False, "v0"), (True, "v0"), (False, "v2"), (True, "v2")])
def test_checkpoints_are_those_of_plain_tensorflow_and_go_anywhere(tmp_path, resource, level):
    """Two workers save; plain TensorFlow, four workers and two go on, and end where plain would."""
    path = str(tmp_path / "model")

    def continued(rank, workers, chief_alone=False):
        feeds, loss, step = build("weight_decay", resource)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            if not chief_alone or rank == 0:
                tf.train.Saver().restore(session, path)
            losses = [session.run([loss, step], dict(zip(feeds, rows_of(rank, workers, n))))[0]
                      for n in (2, 3)]
            return losses, session.run({v.name: v for v in tf.global_variables()})

    def first(rank, workers):
        feeds, _, step = build("weight_decay", resource)
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for n in (0, 1):
                session.run(step, dict(zip(feeds, rows_of(rank, workers, n))))
            saver.save(session, path)

    job(lambda rank: first(rank, 2), level=level)
    values = {name: tf.train.load_variable(path, name) for name, _ in tf.train.list_variables(path)}
    with devices.plain():
        whole = trained("weight_decay", resource)
    with devices.plain():
        after = continued(0, 1)
    assert set(values) == {name[:-2] for name in whole[1]}
    assert_same([(whole[0][2:], whole[1])], [after], rtol=1e-5, atol=1e-6)
    for found in (job(lambda rank: continued(rank, 4), 4, level),
                  job(lambda rank: continued(rank, 2, chief_alone=True), level=level),
                  job(lambda rank: continued(rank, 2), level="")):
        assert_same(found, [after] * len(found), rtol=1e-5, atol=1e-6)
    with devices.plain():
        first(0, 1)
    for name, value in values.items():
        np.testing.assert_allclose(value, tf.train.load_variable(path, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_save_holds_some_variables_at_a_time(tmp_path, monkeypatch, sharded):
    """Each part of a checkpoint is written before the next one is brought to the chief."""
    monkeypatch.setattr(streamed_save, "_PART_BYTES", 400)
    monkeypatch.setattr(held_state, "_CHUNK_BYTES", 400)
    path = str(tmp_path / "model")
    written = []

    def note(parts):
        written.append({name: value.nbytes for name, value in parts._waiting.items()})
        before(parts)

    before = streamed_save._Parts._write
    monkeypatch.setattr(streamed_save._Parts, "_write", note)

    def work(rank):
        feeds, _, step = build("adam", True)
        saver = tf.train.Saver(sharded=sharded)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(step, dict(zip(feeds, rows_of(rank, 2, 0))))
            assert saver.save(session, path, 7) == path + "-7"
            return session.run({v.op.name: v for v in tf.global_variables()})

    found = job(work)[0]
    assert len(written) == 3 and max(sum(each.values()) for each in written) <= 400 + 50 * 8 * 4
    assert tf.train.latest_checkpoint(str(tmp_path)) == path + "-7"
    assert {name for name, _ in tf.train.list_variables(path + "-7")} == set(found)
    for name, value in found.items():
        np.testing.assert_array_equal(tf.train.load_variable(path + "-7", name), value)
    assert not [name for name in os.listdir(str(tmp_path)) if "temp" in name]


@pytest.mark.parametrize("level", ["v0", "v2"])
def test_a_monitored_session_saves_and_goes_on(tmp_path, level):
    """Hooks save on the chief alone, at times of its own; a new job goes on from there."""
    def train(rank, steps, folder):
        feeds, loss, step = build("adam_clipped", True)
        hooks = [tf.train.StopAtStepHook(last_step=steps)]
        losses = []
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=folder, hooks=hooks, save_checkpoint_steps=1 if rank == 0 else 3,
                log_step_count_steps=None, save_summaries_steps=None) as session:
            while not session.should_stop():
                number = session.run_step_fn(
                    lambda step_context: step_context.session.run(tf.train.get_global_step()))
                losses.append(session.run([loss, step], dict(zip(
                    feeds, rows_of(rank, 2, number % STEPS))))[0])
        return losses

    folder, other = str(tmp_path / "model"), str(tmp_path / "other")
    before = job(lambda rank: train(rank, 2, folder), level=level)
    after = job(lambda rank: train(rank, 4, folder), level=level)
    assert len(after[0]) == 2
    whole = job(lambda rank: train(rank, 4, other), level=level)
    assert [one + two for one, two in zip(before, after)] == whole
    paths = [tf.train.latest_checkpoint(each) for each in (folder, other)]
    for name, _ in tf.train.list_variables(paths[0]):
        np.testing.assert_array_equal(*[tf.train.load_variable(path, name) for path in paths])


def test_state_is_read_on_one_worker_while_others_train_or_end():
    """The chief reads slots between steps, and when the others have long come to their end."""
    def work(rank):
        feeds, _, step = build("adam", True)
        slots = [v for v in tf.global_variables() if "Adam" in v.op.name]
        found = []
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert not session.run(tf.report_uninitialized_variables()).size
            for number in range(3):
                session.run(step, dict(zip(feeds, rows_of(rank, 2, number))))
                if rank == 0 and number != 1:
                    found.append(session.run({v.name: v for v in slots}))
        return found

    found = job(work)[0]
    expected = job(lambda rank: trained_slots(rank), level="")[0]
    for values, others in zip(found, expected):
        for name in others:
            np.testing.assert_array_equal(values[name], others[name])


def trained_slots(rank):
    feeds, _, step = build("adam", True)
    slots = {v.name: v for v in tf.global_variables() if "Adam" in v.op.name}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = []
        for number in range(3):
            session.run(step, dict(zip(feeds, rows_of(rank, 2, number))))
            found.append(session.run(slots))
    return found[0], found[2]


def test_state_that_a_step_reads_beside_its_update_is_refused():
    def work(rank):
        feeds, loss, step = build("adam", True)
        slot = next(v for v in tf.global_variables() if v.op.name == "table/Adam")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            with pytest.raises(NotImplementedError, match="reads or writes 'table/Adam' by .*"
                               "zero.level.* in a run of its own"):
                session.run([step, slot], dict(zip(feeds, rows_of(rank, 2, 0))))
            session.run([step, loss], dict(zip(feeds, rows_of(rank, 2, 0))))
            with pytest.raises(NotImplementedError, match=r"'table/Adam'.* shared out: rows"):
                session.run(tf.scatter_add(slot, [0], tf.ones([1, 8])))

    job(work)


def test_a_part_of_what_is_updated_together_is_refused():
    def work(rank):
        feeds, _, step = build("adam", True)
        part = next(op for op in tf.get_default_graph().get_operations()
                    if op.type == "ResourceApplyAdam")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            with pytest.raises(ValueError, match="updates '.*', but not '.*zero.level"):
                session.run(part, dict(zip(feeds, rows_of(rank, 2, 0))))
            session.run(step, dict(zip(feeds, rows_of(rank, 2, 0))))

    job(work)


def test_state_that_one_worker_has_lost_ends_the_job():
    def work(rank):
        feeds, _, step = build("adam", True)
        for number in range(2):
            if number == 0 or rank == 1:
                session = tf.Session()
                session.run(tf.global_variables_initializer())
            if number == 0:
                session.run(step, dict(zip(feeds, rows_of(rank, 2, 0))))
        with pytest.raises(ConfigError, match="worker 1 has made its session anew.*--max_restarts"):
            session.run(step, dict(zip(feeds, rows_of(rank, 2, 1))))

    job(work)


def test_micro_batches_work_and_other_layouts_are_refused():
    plain = job(lambda rank: trained("adam", True, rank, 2), level="",
                **{"pipeline.num_micro_batch": 2})
    assert_same(job(lambda rank: trained("adam", True, rank, 2),
                    **{"pipeline.num_micro_batch": 2}), plain, rtol=0, atol=0)

    def two_devices(rank):
        begin()
        with pytest.raises(ConfigError, match="'v0' shares .* and these have 2: start one worker"):
            trained("adam", True, rank, 2)

    loopback.run(two_devices, devices=2)
    with pytest.raises(ConfigError, match="'v0' and optimizer.num_apply_group = 2 do not go"):
        job(lambda rank: trained("adam", True, rank, 2), **{"optimizer.num_apply_group": 2})
    with pytest.raises(ConfigError, match="'v3' is not one of .*'v0', 'v1', 'v2'"):
        begin("v3")


def test_workers_compare_who_holds_what():
    def work(rank):
        trained("adam", True, rank, 2)
        ownership = ownership_of(tf.get_default_graph())
        return {key.name: ownership.describe(key) for key in ownership.shared_out}

    one, other = job(work)
    assert one == other
    assert one["table/Adam"] == "shared out: rows 0 to 23 on worker 0, rows 24 to 49 on worker 1"


def test_an_update_of_what_is_not_held_is_found():
    def work(rank):
        build("adam", True)
        graph = tf.get_default_graph()
        graph.finalize()
        state, ownership = state_of(graph), ownership_of(graph)
        zero.verify(graph, state)
        unit, = state.known(zero.Zero).units
        key = next(key for key in unit.updates if not ownership.own_rows(
            graph.get_operation_by_name(key.name + "/Adam")).number)
        compat.add_control_inputs(unit.received, list(unit.updates[key].writes))
        with pytest.raises(RewriteError, match="of which this worker holds nothing"):
            zero.verify(graph, state)

    job(work)


def test_rows_begin_where_elements_are_aligned():
    from epl.rewrite.row_slices import aligned_rows

    assert aligned_rows(tf.TensorShape([50, 8]), 4) == [(0, 12), (12, 12), (24, 12), (36, 14)]
    assert aligned_rows(tf.TensorShape([70]), 2) == [(0, 32), (32, 38)]
    assert sum(each.number for each in aligned_rows(tf.TensorShape([5, 3]), 4)) == 5
    with pytest.raises(ValueError, match="left out, or held twice"):
        with tf.Graph().as_default():
            ownership_of_two().share_out(tf.get_variable("v", [4]).op, [Rows(0, 2), Rows(3, 1)])


def ownership_of_two():
    from epl.communicators.base import all_workers
    from epl.ir.ownership import Ownership

    return Ownership(all_workers(2), 0)


def test_gradients_are_held_in_parts_and_their_norm_is_everybodys():
    """One worker alone fetches the norm; nobody can fetch the gradient that it has rows of."""
    def work(rank):
        feeds, loss, _ = build("adam", True)
        optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
        pairs = optimizer.compute_gradients(loss)
        gradients = {v.op.name: gradient for gradient, v in pairs}
        norm, largest = tf.global_norm([g for g, _ in pairs]), tf.reduce_max(gradients["head"])
        step = optimizer.apply_gradients(pairs)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            given = [dict(zip(feeds, rows_of(rank, 2, number))) for number in range(3)]
            found = session.run([norm, largest, step][:: 1 if rank == 0 else -1], given[0])
            found = found if rank == 0 else found[::-1]
            alone = session.run([norm, step] if rank == 0 else step, given[1])
            with pytest.raises(NotImplementedError, match="from '.*'.*, a part of the gradient of "
                               "'kernel:0'.* 'v1' .* 'v0'"):
                session.run([step, gradients["kernel"]], given[2])
            return found[:2] + [alone[0] if rank == 0 else None], tf.get_default_graph()

    found = [each for each, _ in job(work, level="v1")]
    plain = [each for each, graph in job(fetched_norms, level="")]
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-6)
    np.testing.assert_array_equal(found[0][:2], found[1][:2])


@pytest.mark.parametrize("level", ["v0", "v1", "v2"])
def test_losses_in_turns_share_a_variable(level):
    """Steps of two losses, each with a placeholder of its own, train one variable of both."""
    def work(rank):
        ids, x, y = [tf.placeholder(tf.float32, [None, width]) for width in (5, 6, 1)]
        draw = np.random.RandomState(2)
        own, other, shared = [tf.get_variable(
            name, initializer=draw.randn(*shape).astype(np.float32), use_resource=True)
            for name, shape in (("own", (5, 8)), ("other", (6, 8)), ("shared", (8, 4)))]
        steps = []
        for fed, weight in ((ids, own), (x, other)):
            loss = tf.reduce_mean(tf.square(tf.matmul(tf.tanh(tf.matmul(fed, weight)), shared)))
            optimizer = tf.train.AdamOptimizer(0.01, name="of_" + weight.op.name)
            gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, [weight, shared]), 0.1)
            steps.append(optimizer.apply_gradients(zip(gradients, [weight, shared])))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for number in range(3):
                rows = np.random.RandomState(number).randn(8, 6).astype(np.float32)[rank * 4:][:4]
                session.run(steps[0], {ids: rows[:, :5]})
                session.run(steps[1], {x: rows})
            return [0.0], session.run({v.name: v for v in tf.global_variables()})

    assert_same(job(work, level=level), job(work, level=""), rtol=1e-5, atol=1e-7)


def fetched_norms(rank):
    feeds, loss, _ = build("adam", True)
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    pairs = optimizer.compute_gradients(loss)
    norm = tf.global_norm([g for g, _ in pairs])
    largest = tf.reduce_max({v.op.name: gradient for gradient, v in pairs}["head"])
    step = optimizer.apply_gradients(pairs)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        given = [dict(zip(feeds, rows_of(rank, 2, number))) for number in range(3)]
        first = session.run([norm, largest, step], given[0])
        return first[:2] + [session.run([norm, step], given[1])[0]], tf.get_default_graph()


@pytest.mark.parametrize("workers", [2, 4])
def test_no_worker_gets_much_more_of_the_gradients_than_its_part(workers):
    def work(rank):
        x = tf.placeholder_with_default(np.ones([4, 32], np.float32), [None, 32])
        for number in range(6):
            x = tf.tanh(tf.layers.dense(x, 32, name="layer_{}".format(number)))
        step = clipped(tf.train.AdamOptimizer(), tf.reduce_mean(x))
        graph = tf.get_default_graph()
        graph.finalize()
        zero_record = state_of(graph).known(zero.Zero)
        own = sum(part.rows[rank].number * part.gradient.variable.shape.num_elements()
                  // int(part.gradient.variable.shape[0]) for part in zero_record.parts.values())
        scattered = [c for c in groups_of(state_of(graph))[0].collectives
                     if c.kind == "reduce_scatter"]
        taken = sum(int(c.shape.strip("[]")) for c in scattered) // workers
        assert step is not None and len(zero_record.parts) == 12
        return own, taken

    whole = 6 * (32 * 32 + 32)
    for own, taken in job(work, workers, "v1"):
        assert own <= taken <= whole / workers * 1.05


@pytest.mark.parametrize("level", ["v0", "v1", "v2"])
def test_a_check_compares_whole_values(level):
    """Slots are put together for it; gradients that workers have parts of are left out."""
    def work(rank):
        check = epl.check(2)
        trained("adam_clipped", True, rank, 2)
        return check.report

    chief = job(work, level=level)[0]
    names = {found.row.name for found in chief.worst}
    assert chief.passed, chief.describe()
    assert {"table", "table/Adam", "head/Adam_1", "gradient of table:0"} <= names
    assert ("gradient of head:0" in names) == (level == "v0")
