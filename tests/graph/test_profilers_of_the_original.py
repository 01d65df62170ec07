# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory and floating-point operations: of traced runs, and of a graph that is not run."""

import csv
import glob
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.ir.flops import count, flops_of
from epl.profiler.flops import FlopsProfilerHook, profile_flops, step_flops
from epl.profiler.memory import read_memory
from epl.profiler.memory_profiler_hook import MemoryProfilerHook, profile_memory, stages_of
from epl.profiler.profiler import profile_flops as flops_without_a_run
from epl.profiler.profiler import profile_memory as memory_without_a_run
from tests.graph import devices
from tests.graph.devices import BOTH, ONE, PIPELINE

ROWS, WIDTH = 64, 256
FLOAT = 4


def layers(stage, x):
    """Two layers without bias; weights of 10 x 256 and 256 x 16."""
    with stage(0):
        inner = tf.get_variable("inner", [10, WIDTH])
        hidden = tf.tanh(tf.matmul(x, inner, name="first"))
    with stage(1):
        outer = tf.get_variable("outer", [WIDTH, 16])
        loss = tf.reduce_mean(tf.matmul(hidden, outer, name="second"))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(
        loss, tf.train.get_or_create_global_step())
    return loss, train


def trained(layout, hooks=(), steps=6):
    """Some steps; returns the graph."""
    x = tf.placeholder(tf.float32, [None, 10])
    loss, train = layers(devices.stages(layout), x)
    stop = tf.train.StopAtStepHook(last_step=steps)
    with tf.train.MonitoredTrainingSession(hooks=[stop] + list(hooks),
                                           config=devices.session_config()) as session:
        while not session.should_stop():
            session.run([loss, train], {x: np.ones([ROWS, 10])})
    return loss.graph


def traced(fetches, feeds):
    """A second run with a trace."""
    with devices.session() as session:
        session.run(fetches, feeds)
        metadata = tf.RunMetadata()
        session.run(fetches, feeds, run_metadata=metadata, options=tf.RunOptions(
            trace_level=tf.RunOptions.FULL_TRACE))
        return session, metadata


def scalars(directory):
    """What TensorBoard would show of the events in a directory."""
    return {value.tag: value.simple_value for path in glob.glob(directory + "/events*")
            for event in tf.train.summary_iterator(path) for value in event.summary.value}


def test_peak_and_what_stays():
    with devices.started(ONE):
        weight = tf.get_variable("weight", [512, 512], initializer=tf.ones_initializer())
        x = tf.placeholder(tf.float32, [None, 512])
        product = tf.matmul(x, weight)
        result = tf.reduce_sum(tf.matmul(product, weight, transpose_b=True))
        _, metadata = traced(result, {x: np.ones([1024, 512])})
    stats, = profile_memory(metadata, visualize=False)
    assert stats["device"].endswith("device:CPU:0")
    weights, products = 512 * 512 * FLOAT, 2 * 1024 * 512 * FLOAT
    assert weights <= stats["persist"] < weights + 1000
    assert weights + products <= stats["peak_memory"] < weights + products + 10000
    memory, = read_memory(metadata.step_stats)
    assert memory.records[-1].in_use >= memory.persistent
    assert memory.peak_of({"MatMul"}) == products // 2


@pytest.mark.parametrize("layout", [ONE, BOTH])
def test_memory_hook(layout, tmp_path, capsys):
    hook_at = str(tmp_path / "memory")
    with devices.started(layout):
        hook = MemoryProfilerHook(save_steps=2, max_steps=4, output_dir=hook_at,
                                  dump_metadata=True)
        trained(layout, [hook])
    number = layout.stages * layout.replicas
    assert sorted(hook.found) == [2, 4]
    assert [len(found) for found in hook.found.values()] == [number, number]
    said = [line for line in capsys.readouterr().out.splitlines() if "epl memory" in line]
    assert len(said) == 2 * number and "epl memory: step 2, CPU:0: at most" in said[0]
    assert layout is ONE or "stage 0: " in said[0] and "stage 1: " in said[1]
    tables = sorted(os.path.basename(path) for path in glob.glob(hook_at + "/*.csv"))
    assert len(tables) == 2 * number and tables[0].startswith("profile_step_2_")
    with open(os.path.join(hook_at, tables[0])) as file:
        rows = list(csv.DictReader(file))
    assert max(int(row["cumsum"]) for row in rows) == hook.found[2][0].peak
    assert len(glob.glob(hook_at + "/*.csv.png")) == 2 * number
    with open(hook_at + "/run_metadata_4.bin", "rb") as file:
        assert read_memory(tf.RunMetadata.FromString(file.read()).step_stats) == hook.found[4]
    values = scalars(hook_at + "/memory")
    assert layout is ONE or values["memory/CPU:0/stage_0/peak_bytes"] > 0
    assert values["memory/CPU:0/peak_bytes"] in {
        float(np.float32(found[0].peak)) for found in hook.found.values()}


def test_memory_of_stages():
    with devices.started(PIPELINE):
        hook = MemoryProfilerHook(3, 3, visualize=False)
        graph = trained(PIPELINE, [hook])
        first, second = [stages_of(memory, graph) for memory in hook.found[3]]
    # Stage 0 holds the activation of at least one micro-batch, and rows of at most two with their
    # gradients; what stage 1 takes of it is a copy on its own device.
    activation = ROWS // 2 * WIDTH * FLOAT
    assert activation <= first[0] <= 5 * activation + 2 * 10 * WIDTH * FLOAT
    assert 1 in second


def test_nothing_is_traced_where_nothing_is_wanted(tmp_path):
    with devices.started(ONE):
        hook = MemoryProfilerHook(7, 8, str(tmp_path), visualize=False)
        trained(ONE, [hook])
    assert hook.found == {} and os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("numbers", [(6, 5), (0, 5), (-1, 5)])
def test_numbers_with_which_nothing_is_measured(numbers, tmp_path):
    with devices.started(ONE), pytest.raises(ValueError, match="with save_steps from 1"):
        MemoryProfilerHook(*numbers, output_dir=str(tmp_path))


def test_memory_needs_a_global_step(tmp_path):
    with devices.started(ONE):
        with pytest.raises(RuntimeError, match="no global step"):
            MemoryProfilerHook(output_dir=str(tmp_path), visualize=False).begin()


FORWARD = 2 * ROWS * 10 * WIDTH, 2 * ROWS * WIDTH * 16  # multiplications and additions


def products(found):
    return {name: number for name, number in found.by_op.items() if found.types[name] == "MatMul"}


def test_flops_of_a_step():
    with devices.started(ONE):
        x = tf.placeholder(tf.float32, [None, 10])
        epl.set_default_strategy(epl.replicate(1))
        session, metadata = traced(layers(devices.stages(None), x), {x: np.ones([ROWS, 10])})
        found = step_flops(session.graph, metadata.step_stats)
        assert x.shape.as_list() == [None, 10]  # the graph stays as it is
        assert profile_flops(session, metadata, ["op"]) == found.total
    # The first layer has no gradient by its input.
    assert sum(products(found).values()) == 2 * FORWARD[0] + 3 * FORWARD[1]
    assert found.by_op["first"] == FORWARD[0] and found.by_op["Tanh"] == ROWS * WIDTH


def test_flops_of_stages_count_every_copy(capsys, tmp_path):
    with devices.started(BOTH):
        hook = FlopsProfilerHook(["scope", "op", "graph"], str(tmp_path))
        trained(BOTH, [hook])
    said = capsys.readouterr().out
    assert "epl flops: {:.6f} GFLOPs in a step".format(hook.flops / 1e9) in said
    tanh = ROWS * WIDTH
    assert "stage 0, forward: {:.6f}".format((FORWARD[0] + tanh) / 1e9) in said
    assert hook.flops > 2 * FORWARD[0] + 3 * FORWARD[1]
    values = scalars(str(tmp_path / "flops"))
    assert values["flops/stage_0/forward"] == FORWARD[0] + tanh
    assert values["flops/step"] == float(np.float32(hook.flops)) and len(values) == 5


def test_products_of_batches_of_matrices():
    """TensorFlow counts a transposed first operand by the wrong dimension."""
    with tf.Graph().as_default():
        first, second = tf.zeros([7, 5, 3]), tf.zeros([7, 5, 2])
        transposed = tf.matmul(first, second, transpose_a=True)  # 7 x [3, 5] [5, 2]
        plain = tf.matmul(tf.zeros([7, 3, 5]), second)
        assert flops_of(transposed.op) == flops_of(plain.op) == 7 * 3 * 5 * 2 * 2
        summed = tf.raw_ops.Einsum(inputs=[first, second], equation="bij,bik->bjk")
        assert flops_of(summed.op) == 7 * 3 * 5 * 2 * 2
        outer = tf.raw_ops.Einsum(inputs=[tf.zeros([4]), tf.zeros([3])], equation="i,j->ij")
        assert flops_of(outer.op) == 12


def test_what_tensorflow_counts_rightly_is_what_it_counts():
    with tf.Graph().as_default() as graph:
        image = tf.zeros([2, 8, 8, 3])
        tower = tf.layers.max_pooling2d(tf.layers.conv2d(image, 4, 3), 2, 2)
        tf.reduce_sum(tf.layers.dense(tf.layers.flatten(tower), 5))
        found, unknown = count(graph.get_operations())
        options = tf.profiler.ProfileOptionBuilder(
            tf.profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
        expected = tf.profiler.profile(graph, options=options).total_float_ops
    own = sum(number for name, number in found.items()
              if graph.get_operation_by_name(name).type == "AddV2")  # which 1.15 does not know
    assert unknown == [] and found["conv2d/Conv2D"] == 2 * 2 * 6 * 6 * 4 * 3 * 3 * 3
    assert sum(found.values()) in (expected, expected + own)


@pytest.mark.parametrize("cmds", ["all", [], ["op", "x"], 5])
def test_ways_to_print_that_there_are_not(cmds):
    with pytest.raises(ValueError, match="use 'scope', 'op', 'graph'"):
        FlopsProfilerHook(cmds)


def test_without_a_run():
    with devices.started(ONE):
        rows = tf.data.Dataset.from_tensor_slices(np.ones([500, 10], np.float32))
        x = tf.data.make_initializable_iterator(rows.batch(ROWS).repeat().prefetch(1)).get_next()
        product = tf.matmul(x, tf.get_variable("w", [10, 16]), name="product")
        tf.nn.bias_add(product, tf.get_variable("b", [16]), name="sum")
        flops, sizes = flops_without_a_run(), memory_without_a_run()
        assert flops["product"] == 2 * ROWS * 10 * 16 and flops["sum"] == ROWS * 16
        assert sizes["product:0"] == ROWS * 16 * FLOAT
        assert "product" not in flops_without_a_run(is_shape_unknown=False)
        assert product.shape.as_list() == [None, 16]
