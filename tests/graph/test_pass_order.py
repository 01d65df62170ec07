# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The control edges make every device run its cells in the plan's order, and nothing else.

A cell is (replica, stage, phase, micro-batch). It is found anew here, for every operation from what
it is a copy of, so that the edges say for themselves what waits for what.
"""

import collections
import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.environment import plan_for
from epl.ir.graph_state import state_of
from epl.plan.action import BACKWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS
from epl.rewrite import loops, op_traits
from epl.rewrite.clones import CloneId
from epl.rewrite.groups import groups_of
from epl.rewrite.rewriter import rewrite
from epl.rewrite.walk import ancestors
from tests.graph.devices import Layout, session, started
from tests.support.layouts import SCHEDULES
from tests.support.schedules import OTHERS, registering

EACH_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES)
EACH_OR_OTHER = pytest.mark.parametrize("schedule", SCHEDULES + tuple(OTHERS))
# With two micro-batches on two stages the third schedule is the first.
EACH_ORDER = pytest.mark.parametrize("schedule", SCHEDULES[:2])
MODELS = {}


def model(function):
    MODELS[function.__name__] = function
    return function


def weights(name, width=3):
    return tf.get_variable(name, [3, width], initializer=tf.ones_initializer())


@model
def dense(hidden, number):
    return tf.tanh(tf.matmul(hidden, weights("w{}".format(number))))


@model
def looped(hidden, number):
    kernel = weights("w{}".format(number))
    return tf.while_loop(lambda n, _: n < 2, lambda n, v: (n + 1, tf.tanh(tf.matmul(v, kernel))),
                         [0, hidden])[1]


@model
def mapped(hidden, number):
    kernel = weights("w{}".format(number))
    return tf.map_fn(lambda row: tf.tanh(tf.reduce_sum(row * kernel, 1)), hidden)


@model
def branched(hidden, number):
    kernel = weights("w{}".format(number))
    return tf.cond(tf.reduce_sum(hidden) > 0, lambda: tf.matmul(hidden, kernel),
                   lambda: tf.sin(hidden))


@model
def branched_twice(hidden, number):
    kernel = weights("w{}".format(number))

    def outer():
        return tf.cond(tf.reduce_max(hidden) > 1, lambda: tf.matmul(hidden, kernel),
                       lambda: tf.sin(hidden))
    return tf.cond(tf.reduce_sum(hidden) > 0, outer, lambda: 2.0 * tf.matmul(hidden, kernel))


@model
def looped_branch(hidden, number):
    kernel = weights("w{}".format(number))
    return tf.cond(tf.reduce_sum(hidden) > 0, lambda: tf.while_loop(
        lambda n, _: n < 2, lambda n, v: (n + 1, tf.tanh(tf.matmul(v, kernel))), [0, hidden])[1],
        lambda: tf.constant(7.0, shape=[1, 3]))


@model
def nested(hidden, number):
    kernel = weights("w{}".format(number))

    def step(n, v):
        return n + 1, tf.while_loop(lambda k, _: k < n, lambda k, u: (k + 1, tf.tanh(tf.matmul(
            u, kernel))), [0, v])[1]
    return tf.while_loop(lambda n, _: n < 2, step, [0, hidden])[1]


@model
def constant(hidden, number):
    kernel = weights("w{}".format(number))
    return tf.cond(tf.reduce_sum(hidden) > 0, lambda: tf.matmul(hidden, kernel),
                   lambda: tf.constant(7.0, shape=[1, 3]))


@model
def assertive(hidden, number):
    with tf.control_dependencies([tf.assert_less(hidden, 1e9)]):
        return tf.tanh(tf.matmul(hidden, weights("w{}".format(number))))


def awaited(barrier):
    """The operations of cells that a barrier waits for; it may stand behind another one."""
    found = []
    for op in barrier.control_inputs:
        if op.type == "NoOp":
            found.extend(op.control_inputs)
        elif "/accumulate/" not in op.name:
            found.append(op)
    return found


class Ordered:
    """The gradients of a pipeline, rewritten, and what each operation's cell is."""

    def __init__(self, graph, make, stages, penalty=False):
        hidden = self.x = tf.placeholder(tf.float32, [None, 3], "x")
        for number in range(stages):
            with epl.replicate(1):
                hidden = make(hidden, number)
        self.loss = tf.reduce_mean(hidden)
        if penalty:
            self.loss += tf.reduce_mean(tf.gradients(hidden, self.x)[0] ** 2)
        self.gradients = tf.gradients(self.loss, tf.trainable_variables())
        rewrite(graph)
        self.group = groups_of(state_of(graph))[-1]
        self.plan = plan_for(graph)
        self.cells = {}
        clones = self.group.clones
        for op, phase in self.group.partition.phase.items():
            for clone in clones.clones:
                self.cells[clones.op(op, clone)] = (
                    clone.replica, self.group.partition.stage[op], phase, clone.micro_batch)

    def edges(self):
        """(cell before, cell after) of every control edge."""
        return {(self.cells[before], self.cells[edge.after]) for edge in self.group.edges
                for before in awaited(edge.barrier)}

    def planned(self):
        """(cell before, cell after) of every two neighbours in the plan."""
        found = set()
        for replica in range(self.plan.num_replicas):
            for stage in range(self.plan.num_stages):
                cells = [(replica, stage, action.kind, action.micro_batch)
                         for action in self.plan.actions[stage]]
                found.update(zip(cells, cells[1:]))
        return found

    def copies(self, ops):
        """What stands for `ops` in all clones."""
        clones = self.group.clones
        return {clones.op(op, clone) for op in ops for clone in clones.clones}

    def of_cell(self):
        found = collections.defaultdict(set)
        for op, cell in self.cells.items():
            found[cell].add(op)
        return found


@pytest.fixture(autouse=True, scope="module")
def _others():
    with registering() as register:
        for name, schedule in OTHERS.items():
            register(name, schedule)
        yield


def pipeline(stages, micro_batches, schedule, replicas=1, chunks=1):
    return started(Layout(stages, replicas, micro_batches),
                   {"pipeline.strategy": schedule, "pipeline.num_chunks": chunks},
                   devices=stages * replicas // chunks)


@functools.lru_cache(maxsize=None)
def ordered_pipeline(name, stages, micro_batches, schedule, replicas=1, penalty=False, chunks=1):
    """A rewritten pipeline to look at; several tests look at the same."""
    with pipeline(stages, micro_batches, schedule, replicas, chunks) as graph:
        return Ordered(graph, MODELS[name], stages, penalty)


@EACH_OR_OTHER
@pytest.mark.parametrize("stages, micro_batches", [
    (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (4, 4)])
def test_the_edges_are_the_plan(stages, micro_batches, schedule):
    ordered = ordered_pipeline("dense", stages, micro_batches, schedule)
    if micro_batches == 1:  # one clone: its own dependencies are the order
        assert ordered.group.edges == []
    else:
        assert ordered.edges() == ordered.planned()


@EACH_SCHEDULE
def test_every_replica_follows_the_plan(schedule):
    ordered = ordered_pipeline("dense", 2, 4, schedule, replicas=2)
    assert ordered.edges() == ordered.planned()
    assert {before[0] for before, _ in ordered.edges()} == {0, 1}


@EACH_ORDER
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_edges_are_the_plan_whatever_a_stage_is_made_of(name, schedule):
    ordered = ordered_pipeline(name, 2, 2, schedule)
    assert ordered.edges() == ordered.planned()


@EACH_ORDER
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_cell_begins_when_the_one_before_has_ended(name, schedule):
    ordered = ordered_pipeline(name, 2, 2, schedule)
    partition, clones = ordered.group.partition, ordered.group.clones
    originals = {clones.op(op, clone): op for op in partition.phase for clone in clones.clones}
    members = ordered.of_cell()
    for before, after in ordered.planned():
        barriers = {edge.barrier for edge in ordered.group.edges
                    if ordered.cells[edge.after] == after}
        ended = ancestors(barriers)
        for op in members[before]:
            assert op in ended or originals[op] in partition.conditional \
                or op_traits.is_switch(op), (before, op)
        for op in members[after]:
            if any(ordered.cells.get(source) == after
                   for source in [t.op for t in op.inputs] + list(op.control_inputs)):
                continue  # waits because its input does
            if originals[op] in partition.inner or (
                    originals[op] in partition.loop and not loops.is_enter(op)):
                continue
            assert barriers & set(op.control_inputs), (after, op)


@EACH_ORDER
@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_the_script_gets_waits_for_every_backward_cell(name, schedule):
    """Else the update of a ref variable could overtake a reader of its old value."""
    ordered = ordered_pipeline(name, 2, 2, schedule)
    conditional = ordered.copies(ordered.group.partition.conditional)
    backward = {op for cell, ops in ordered.of_cell().items() if cell[2] == BACKWARD for op in ops}
    assert backward
    switches = {op for op in backward if op_traits.is_switch(op)}
    for returned in ordered.group.returned_ops:
        assert backward - conditional - switches <= ancestors([returned])


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_no_variable_is_updated_while_gradients_are_computed_from_it(micro_batches):
    """With one clone nothing but TensorFlow's own waits sees to that, in halves as well."""
    group = ordered_pipeline("dense", 2, micro_batches, "ZB-H1").group
    partition = group.partition
    computed = {op for op in partition.phase if op.type == "MatMul" and partition.stage[op] == 1
                and partition.goes_back(op)}
    assert len(computed) == 2  # of the stage's inputs and of its weights
    returned, = [gradient.returned for gradient in group.gradients
                 if partition.stage[gradient.raw.op] == 1]
    assert computed <= ancestors([returned.op])


@EACH_ORDER
@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_edge_crosses_a_loops_border_but_at_enters_and_exits(name, schedule):
    ordered = ordered_pipeline(name, 2, 2, schedule)
    in_loop = ordered.copies(ordered.group.partition.loop)
    inner = ordered.copies(ordered.group.partition.inner)
    assert bool(in_loop) == (name in ("looped", "mapped", "looped_branch", "nested"))
    assert bool(inner) == (name == "nested")
    for edge in ordered.group.edges:
        assert edge.barrier not in in_loop
        assert edge.after not in in_loop or loops.is_enter(edge.after), edge
        assert edge.after not in inner, edge
        for before in awaited(edge.barrier):
            assert before not in in_loop or loops.is_exit(before), (before, edge)
            assert before not in inner, (before, edge)


BRANCHED = ["branched", "branched_twice", "assertive", "looped_branch", "constant"]


@EACH_ORDER
@pytest.mark.parametrize("name", BRANCHED)
def test_no_edge_is_added_behind_a_switch(name, schedule):
    """TensorFlow's graph optimizer would run constants of the branch that is not taken."""
    ordered = ordered_pipeline(name, 2, 2, schedule)
    graph = ordered.loss.graph
    switches = [op for op in graph.get_operations() if op_traits.is_switch(op)]
    assert switches
    for op in switches:
        for user in op._control_outputs:
            assert "/after/" not in user.name and user not in ordered.group.returned_ops


@pytest.mark.parametrize("name", BRANCHED)
def test_nothing_waits_for_what_may_never_run(name):
    ordered = ordered_pipeline(name, 2, 2, "PreferBackward")
    conditional = ordered.copies(ordered.group.partition.conditional)
    assert conditional
    for edge in ordered.group.edges:
        assert not conditional & set(awaited(edge.barrier))


@EACH_OR_OTHER
@pytest.mark.parametrize("stages", [1, 2])
def test_the_gradients_of_a_cell_are_added_before_the_next_cell_begins(stages, schedule):
    """Else they pile up while cells run that were scheduled early to hold less."""
    ordered = ordered_pipeline("dense", stages, 4, schedule)
    group, clones = ordered.group, ordered.group.clones
    additions = 0
    for gradient in group.gradients:
        stage = group.partition.stage[gradient.raw.op]
        in_order = [CloneId(0, action.micro_batch, 0) for action in ordered.plan.actions[stage]
                    if action.kind == BACKWARD]
        assert sorted(in_order) == sorted(clones.clones)
        for clone in in_order[1:]:
            raw = clones.tensor(gradient.raw, clone)
            added, = [op for op in raw.consumers() if op.type.startswith("Add")]
            end = group.order.ends[clone, stage]
            assert end.ended in added.control_inputs and added in end.released.control_inputs
            additions += 1
        followers = {edge.barrier for edge in group.edges}
        for clone in in_order[:-1]:
            assert group.order.ends[clone, stage].released in followers
    assert additions == 3 * len(group.gradients) > 0


@EACH_SCHEDULE
def test_the_first_cell_of_every_device_waits_for_nothing(schedule):
    ordered = ordered_pipeline("dense", 2, 4, schedule, replicas=2)
    first = {(replica, stage, "forward", 0) for replica in range(2) for stage in range(2)}
    assert first.isdisjoint({after for _, after in ordered.edges()})
    assert first <= {before for before, _ in ordered.edges()}


@pytest.mark.parametrize("schedule, stages, chunks", [("ZB-H1", 2, 1), ("ZB-H1", 4, 1),
                                                      ("PreferBackward", 4, 2), ("ZB-V", 4, 2)])
def test_halves_and_stages_that_share_a_device_are_in_the_plans_order(schedule, stages, chunks):
    ordered = ordered_pipeline("dense", stages, 4, schedule, chunks=chunks)
    kinds = {cell[2] for cell in ordered.cells.values()}
    assert kinds == set(ordered.plan.kinds)
    found = ordered.edges()
    for own in ordered.plan.actions:
        cells = [(0, action.stage, action.kind, action.micro_batch) for action in own]
        cells = [cell for cell in cells if cell in set(ordered.cells.values())]
        for number, (one, other) in enumerate(zip(cells, cells[1:])):
            if other[2:] == ("forward", 0):  # the script's own: what is next waits for both
                assert other not in {after for _, after in found}
                other = cells[number + 2]
            assert (one, other) in found
    own = ancestors([ordered.loss.op])
    assert not own & {edge.barrier for edge in ordered.group.edges}
    devices = {cell[1]: {op.device for op in ops} for cell, ops in ordered.of_cell().items()}
    for device, column in enumerate(ordered.plan.columns):
        for stage in column:
            assert devices[stage] == {"/device:CPU:{}".format(device)}


def test_gradients_of_inputs_wait_for_none_of_weights():
    """TensorFlow ties the two gradients of a product together; here they are apart."""
    partition = ordered_pipeline("dense", 4, 4, "ZB-H1").group.partition
    late, early = [{op for op, kind in partition.phase.items() if kind == half}
                   for half in (WEIGHT_GRADIENTS, INPUT_GRADIENTS)]
    assert not late & ancestors(early)
    for stage in range(4):
        products = [[op for op in half if op.type == "MatMul" and partition.stage[op] == stage]
                    for half in (early, late)]
        assert list(map(len, products)) == ([1, 1] if stage else [0, 1])  # data needs no gradient


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_scripts_own_forward_waits_for_no_other_clone(name):
    ordered = ordered_pipeline(name, 2, 2, "PreferBackward")
    own = ancestors([ordered.loss.op])
    assert not own & {edge.barrier for edge in ordered.group.edges}
    clones = ordered.group.clones
    of_others = {clones.op(op, clone) for op in ordered.group.partition.batch_dependent
                 for clone in clones.clones[1:]}
    assert of_others and not own & of_others


def assert_no_cycle(successors):
    """Kahn's algorithm: everything can be put in a line."""
    waits = {node: 0 for node in successors}
    for users in successors.values():
        for user in users:
            waits[user] += 1
    ready, done = [node for node, count in waits.items() if not count], 0
    while ready:
        done += 1
        for user in successors[ready.pop()]:
            waits[user] -= 1
            if not waits[user]:
                ready.append(user)
    assert done == len(successors), [node for node, count in waits.items() if count][:9]


def dependencies(ordered):
    """Who follows whom in a step: (operation -> operations, cell -> cells)."""
    needed = ancestors([gradient.op for gradient in ordered.gradients])
    operations = {op: [] for op in needed}
    cells = {cell: set() for cell in ordered.cells.values()}
    for op in needed:
        for source in [t.op for t in op.inputs] + list(op.control_inputs):
            if source.type != "NextIteration":
                operations[source].append(op)
            before, after = ordered.cells.get(source), ordered.cells.get(op)
            if None not in (before, after) and before != after:
                cells[before].add(after)
    for before, after in ordered.edges():
        cells[before].add(after)
    return operations, cells


@EACH_OR_OTHER
@pytest.mark.parametrize("name, stages, micro_batches", [("dense", 2, 4), ("dense", 4, 4)])
def test_neither_operations_nor_cells_of_a_pipeline_wait_for_each_other(
        name, stages, micro_batches, schedule):
    for successors in dependencies(ordered_pipeline(name, stages, micro_batches, schedule)):
        assert_no_cycle(successors)


@EACH_ORDER
@pytest.mark.parametrize("name", sorted(MODELS))
def test_nothing_waits_for_each_other_whatever_a_stage_is_made_of(name, schedule):
    for successors in dependencies(ordered_pipeline(name, 2, 2, schedule)):
        assert_no_cycle(successors)


@EACH_OR_OTHER
def test_a_gradient_penalty_makes_no_operations_wait_for_each_other(schedule):
    # Second derivatives pass through the backward cells of a micro-batch both ways.
    operations, _ = dependencies(ordered_pipeline("dense", 3, 4, schedule, penalty=True))
    assert_no_cycle(operations)


@EACH_SCHEDULE
@pytest.mark.parametrize("penalty", [False, True], ids=["plain", "penalty"])
def test_a_step_of_a_deep_pipeline_runs(schedule, penalty):
    rows = np.linspace(-1, 1, 27, dtype=np.float32).reshape(9, 3)
    with pipeline(3, 3, schedule) as graph:
        ordered = Ordered(graph, dense, 3, penalty)
        with session() as running:
            found = running.run(ordered.gradients + [ordered.loss], {ordered.x: rows})
    assert all(np.isfinite(value).all() for value in found)


@EACH_SCHEDULE
def test_the_slices_of_a_device_are_one_cell(schedule):
    with started(Layout(micro_batches=2), {"pipeline.strategy": schedule}, devices=3) as graph:
        x = tf.placeholder(tf.float32, [None, 3])
        with epl.replicate(1):
            hidden = dense(x, 0)
        with epl.replicate(2):
            loss = tf.reduce_mean(dense(hidden, 1))
        tf.gradients(loss, tf.trainable_variables())
        rewrite(graph)
        group, plan = groups_of(state_of(graph))[0], plan_for(graph)
        cells = {}
        for op, phase in group.partition.phase.items():
            for clone in group.clones.clones:
                stage = group.partition.stage[op]
                cells[group.clones.op(op, clone)] = (
                    plan.device_of(0, stage, clone.slice).index, phase, clone.micro_batch,
                    clone.slice)
        found = {(cells[before], cells[edge.after]) for edge in group.edges
                 for before in awaited(edge.barrier)}
        expected = set()
        for stage, pieces_of in ((0, {0: [0, 1]}), (1, {1: [0], 2: [1]})):
            tasks = [(action.kind, action.micro_batch) for action in plan.actions[stage]]
            for device, pieces in pieces_of.items():
                expected |= {((device,) + one + (p,), (device,) + other + (q,))
                             for one, other in zip(tasks, tasks[1:])
                             for p in pieces for q in pieces}
        assert found == expected
