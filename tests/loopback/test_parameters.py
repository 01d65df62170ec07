# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""zero.level = v2: parameters are shared out too, and scripts see whole ones all the same."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.errors import ConfigError
from epl.ir.graph_state import state_of
from epl.rewrite import zero
from epl.rewrite.restored import Stored
from tests.graph import devices
from tests.loopback.test_zero import (
    IDS,
    TRAIN,
    X,
    Y,
    assert_same,
    build,
    clipped,
    job,
    rows_of,
    trained,
)

tf.disable_v2_behavior()


def held(graph=None):
    """Names of the parameters that are shared out."""
    record = state_of(graph or tf.get_default_graph()).find(zero.Zero)
    return sorted(key.name for key in record.parameters.rows) if record is not None else []


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_outside_of_steps_parameters_are_whole(resource):
    """They begin with what the chief draws, and are read, evaluated, assigned and loaded whole."""
    def work(rank, workers=2):
        feeds, loss, step = build("adam", resource)
        variables = {v.op.name: v for v in tf.trainable_variables()}
        drawn = tf.get_variable("drawn", [6, 8], use_resource=resource)
        with tf.variable_scope("later"):
            extra = tf.get_variable("extra", [6, 8], use_resource=resource)
        more = tf.train.MomentumOptimizer(0.1, 0.9).minimize(
            loss + tf.reduce_mean(tf.matmul(feeds[1], drawn * extra)))
        found = {}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            given = dict(zip(feeds, rows_of(rank, workers, 0)))
            session.run(more, given)
            found["drawn"] = session.run(drawn)
            given = dict(zip(feeds, rows_of(0, 1, 1)))
            found["loss"] = session.run(loss, given)
            value = np.arange(48, dtype=np.float32).reshape(6, 8) / 48
            assigned = session.run(variables["kernel"].assign(value))
            np.testing.assert_array_equal(assigned, value)
            variables["head"].load(np.ones([8, 1], np.float32), session)
            tf.global_variables("kernel")[1].load(-value, session)  # a slot
            given = dict(zip(feeds, rows_of(rank, workers, 2)))
            # In a step: the value that it begins with.
            found["before"] = session.run([step, variables["kernel"]], given)[1]
            found["held"] = held()
            if held():  # else TensorFlow reads it before or behind the update
                np.testing.assert_array_equal(found["before"], value)
            found["after"] = session.run({v.name: v for v in tf.global_variables()
                                          if "drawn" not in v.name and "extra" not in v.name})
            if rank == 0:
                found["chief"] = session.run([loss, variables["table"]], given)
            # What is built now reads whole values as well.
            if not tf.get_default_graph().finalized:
                twice = 2.0 * variables["kernel"]
                np.testing.assert_array_equal(
                    session.run(twice), 2.0 * found["after"]["kernel:0"])
        return found

    first, second = job(work, level="v2")
    assert first["held"] == ["bias", "drawn", "head", "kernel", "later/extra", "table"]
    np.testing.assert_array_equal(first["drawn"], second["drawn"])
    plain = job(work, level="")[0]
    np.testing.assert_allclose(first["loss"], plain["loss"], rtol=0.2)
    np.testing.assert_array_equal(first["chief"][1], first["after"]["table:0"])
    assert set(first["after"]) == set(plain["after"])
    for name, value in plain["after"].items():
        assert first["after"][name].shape == value.shape
        np.testing.assert_array_equal(first["after"][name], second["after"][name])


def test_what_is_loaded_is_trained_on():
    def work(rank, workers=2):
        feeds, loss, step = build("adam", True)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            draw = np.random.RandomState(8)
            for variable in sorted(tf.global_variables(), key=lambda v: v.name):
                if variable.shape.ndims:
                    variable.load(np.abs(draw.randn(*variable.shape)).astype(np.float32), session)
            losses = [session.run([loss, step], dict(zip(feeds, rows_of(rank, workers, n))))[0]
                      for n in range(3)]
            return losses, session.run({v.name: v for v in tf.global_variables()})

    with devices.plain():
        plain = work(0, 1)
    for level in ("v0", "v2"):
        assert_same(job(work, level=level), [plain] * 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_micro_batches_read_one_value(resource):
    """And what is computed again in the backward pass does."""
    more = {"pipeline.num_micro_batch": 2, "gradient_checkpoint.type": "auto" if resource else ""}
    plain = job(lambda rank: trained("adam_clipped", resource, rank, 2), level="", **more)
    found = job(lambda rank: (trained("adam_clipped", resource, rank, 2), held()),
                level="v2", **more)
    assert [names for _, names in found] == [["bias", "head", "kernel", "table"]] * 2
    assert_same([each for each, _ in found], plain, rtol=1e-5, atol=1e-6)


def test_values_are_read_behind_updates():
    """What waits for the step, and reads parameters then, gets the new values."""
    def work(rank, workers=2):
        feeds, loss, step = build("adam", True)
        table, kernel = [v for v in tf.trainable_variables() if v.op.name in ("table", "kernel")]
        with tf.control_dependencies([step]):
            norm = tf.norm(kernel.read_value())
            row = tf.nn.embedding_lookup(table, [3])
            kept = tf.get_variable("kept", [6, 8], initializer=tf.zeros_initializer(),
                                   trainable=False, use_resource=True)
            copied = kept.assign(kernel.read_value())
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            given = [dict(zip(feeds, rows_of(rank, workers, n))) for n in range(3)]
            # One worker alone reads them.
            session.run([norm, row] if rank == 0 else step, given[0])
            found = session.run([norm, row, copied.op], given[1])[:2] + [
                session.run(kept), session.run(kernel)]
            with tf.control_dependencies([step]):
                late = kernel.read_value()  # built when steps have run already
            found += [session.run([late, step], given[2])[0], session.run(kernel)]
        return found, held()

    found = job(work, level="v2")
    assert found[0][1] == ["bias", "head", "kernel", "table"]
    with devices.plain():
        plain, _ = work(0, 1)
    for (each, _) in found:
        for value, expected in zip(each, plain):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(each[2], each[3])
        np.testing.assert_array_equal(each[4], each[5])


@pytest.mark.parametrize("resource, sharded", [(False, True), (True, False)])
def test_a_restore_reads_the_rows_that_a_worker_holds(tmp_path, resource, sharded):
    """The chief brings others theirs, variable by variable, when they meet."""
    path = str(tmp_path / "model")

    def saved(rank):
        feeds, _, step = build("adam", resource)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(step, dict(zip(feeds, rows_of(rank, 2, 0))))
            tf.train.Saver().save(session, path)

    def restored(rank):
        feeds, _, step = build("adam", resource)
        saver = tf.train.Saver(sharded=sharded)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            saver.restore(session, path)
            slices = {}
            for op in tf.get_default_graph().get_operations():
                if op.type == "RestoreV2":
                    names, specs = [tf.get_static_value(t) for t in op.inputs[1:3]]
                    slices.update(zip(names, specs))
            assert slices[b"table"] == slices[b"table/Adam"] == [
                b"50 8 0,24:0,8", b"50 8 24,26:0,8"][rank]
            assert slices[b"beta1_power"] == b""
            given = session._epl_given
            assert set(given) > {"table", "kernel/Adam_1"}
            assert not any(isinstance(value, np.ndarray) for value in given.values())
            found = session.run({v.op.name: v for v in tf.global_variables()})
            session.run(step, dict(zip(feeds, rows_of(rank, 2, 1))))
            return found

    job(saved, level="v2")
    for found in job(restored, level="v2"):
        for name, value in found.items():
            np.testing.assert_array_equal(value, tf.train.load_variable(path, name))


def test_a_checkpoint_that_is_gone_before_its_rows_are_brought_is_named(tmp_path):
    stored = Stored(str(tmp_path / "gone"), "table/Adam", [50, 8])
    with pytest.raises(ConfigError, match="gone was restored, and its 'table/Adam' cannot be read "
                       "any more.*until the first step"):
        stored.read()


def test_what_is_used_in_a_branch_or_by_its_handle_stays_whole():
    def work(rank, workers=2):
        x, y = tf.placeholder(tf.float32, [None, 6]), tf.placeholder(tf.float32, [None, 1])
        draw = np.random.RandomState(1)
        branch, plain = [tf.get_variable(
            name, initializer=draw.randn(6, 4).astype(np.float32), use_resource=True)
            for name in ("branch", "plain")]
        head = tf.get_variable("head", initializer=draw.randn(4, 1).astype(np.float32),
                               use_resource=True)
        step = tf.train.get_or_create_global_step()
        weight = tf.cond(step < 2, lambda: 1.0 * branch.read_value(), lambda: 2.0 * branch)
        loss = tf.reduce_mean(tf.square(tf.matmul(tf.tanh(
            tf.matmul(x, weight) + tf.matmul(x, plain)), head) - y))
        train = clipped(tf.train.AdamOptimizer(0.01), loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            losses = []
            for n in range(4):
                own = slice(rank * 16 // workers, (rank + 1) * 16 // workers)
                losses.append(session.run([loss, train], {x: X[n, own], y: Y[n, own]})[0])
            found = losses, session.run({v.name: v for v in tf.global_variables()})
        return found, held()

    with devices.plain():
        plain, _ = work(0, 1)
    found = job(work, level="v2")
    assert found[0][1] == ["head", "plain"]
    assert_same([each for each, _ in found], [plain] * 2, rtol=1e-5, atol=1e-6)


def test_what_needs_all_rows_at_once_is_refused_by_name():
    def work(rank):
        feeds, _, step = build("adam", True)
        kernel = next(v for v in tf.trainable_variables() if v.op.name == "kernel")
        update = next(op for op in tf.get_default_graph().get_operations()
                      if op.type == "ResourceApplyAdam")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            given = dict(zip(feeds, rows_of(rank, 2, 0)))
            session.run(step, given)
            changed = kernel.assign_add(tf.ones([6, 8]))
            with pytest.raises(NotImplementedError, match=r"operation '.*\(AssignAddVariableOp\).* "
                               "works on 'kernel'.* assigned as a whole"):
                session.run(changed)
            with pytest.raises(ValueError, match="updates '.*', but not '.*zero.level"):
                session.run(update, given)
            session.run(step, given)

    job(work, level="v2")


def test_an_optimizer_that_reads_what_it_wrote_is_exact():
    """Two plain steps of each update; the second begins where the first has ended."""
    class Twice(tf.train.Optimizer):
        def __init__(self):
            super().__init__(False, "Twice")

        def _apply_dense(self, grad, var):
            with tf.control_dependencies([var.assign_sub(0.1 * grad)]):
                return var.assign_sub(0.1 * grad + 0.01 * tf.identity(var))

        def _resource_apply_dense(self, grad, var):
            with tf.control_dependencies([var.assign_sub(0.1 * grad, read_value=False)]):
                return var.assign_sub(0.1 * grad + 0.01 * var.read_value(), read_value=False)

        def _apply_sparse_duplicate_indices(self, grad, var):
            return self._apply_dense(tf.convert_to_tensor(grad), var)

        def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices):
            return self._resource_apply_dense(
                tf.math.unsorted_segment_sum(grad, indices, handle.shape[0]), handle)

    TRAIN["twice"] = lambda loss: Twice().minimize(loss)
    try:
        for resource in (False, True):
            alike = job(lambda rank, kind=resource: trained("twice", kind, rank, 2), level="")
            found = job(lambda rank, kind=resource: trained("twice", kind, rank, 2), level="v2")
            assert_same(found, alike, rtol=1e-5, atol=1e-6)
    finally:
        del TRAIN["twice"]


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_what_a_step_of_micro_batches_fetches_is_of_the_whole_batch(resource):
    """Rows of a table that are looked up, and what was built when the step had run already."""
    def work(rank, workers=2):
        ids, y = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float32, [None, 1])
        draw = np.random.RandomState(1)
        table, head = [tf.get_variable(
            name, initializer=draw.randn(*shape).astype(np.float32), use_resource=resource)
            for name, shape in (("table", (50, 8)), ("head", (8, 1)))]
        rows = tf.nn.embedding_lookup(table, ids)
        loss = tf.reduce_mean(tf.square(tf.matmul(tf.tanh(rows), head) - y))
        step = tf.train.AdamOptimizer(0.01).minimize(loss)
        found = []
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for number in range(3):
                own = slice(rank * 16 // workers, (rank + 1) * 16 // workers)
                given = {ids: IDS[number, own], y: Y[number, own]}
                more = [loss, rows]
                if number == 2:
                    more.append(2.0 * tf.reduce_mean(tf.nn.embedding_lookup(table, ids)))
                found.append(session.run(more + [step], given)[:-1])
        return found

    micro_batches = {"pipeline.num_micro_batch": 2}
    alike = job(work, level="", **micro_batches)
    for each, others in zip(job(work, level="v2", **micro_batches), alike):
        for (value, looked_up, *_), (expected, rows, *_) in zip(each, others):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(looked_up, rows, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(each[2][2], 2.0 * each[2][1].mean(), rtol=1e-5, atol=1e-6)
