# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Times that one run measures and another one plans with."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.errors import ConfigError
from epl.ir.graph_state import state_of
from epl.plan.measured import Measured, load
from epl.profiler import CostsHook
from epl.rewrite.planning.automatic import Automatic
from epl.rewrite.rewriter import rewrite
from epl.runtime import fingerprint
from tests.graph import devices
from tests.graph.devices import ONE, Layout, started

TWO = Layout(stages=2, micro_batches=2)
CUT = {"auto.auto_parallel": True, "pipeline.num_stages": 2}


def model(layers=4):
    """(placeholder, loss, step) of some equal layers."""
    x = tf.placeholder(tf.float32, [None, 16], "x")
    hidden = x
    for each in range(layers):
        hidden = devices.dense(hidden, 16, "layer_{}".format(each), tf.nn.relu)
    loss = tf.reduce_mean(hidden, name="loss")
    return x, loss, tf.train.AdamOptimizer().minimize(loss)


def measured(path, layout=ONE, options=None, runs=6, **more):
    """Train with the hook for some runs; returns it."""
    with started(layout, options):
        epl.set_default_strategy(epl.replicate(1))
        x, loss, train = model()
        hook = CostsHook(path, **more)
        config = devices.session_config()
        config.graph_options.rewrite_options.disable_meta_optimizer = False
        with tf.train.MonitoredTrainingSession(hooks=[hook], config=config) as session:
            for _ in range(runs):
                session.run(loss, {x: np.ones([8, 16])})
                session.run(train, {x: np.ones([8, 16])})
        return hook


def cut(path, *, options=None):
    """The automatic stages of the model, planned with a file."""
    with started(TWO, dict(CUT, **dict(options or {}, **{"auto.costs": path}))) as graph:
        model()
        rewrite(graph)
        return state_of(graph).known(Automatic)


@pytest.mark.parametrize("layout, options", [
    (ONE, None), (Layout(micro_batches=2), None), (TWO, CUT)], ids=["one", "micro", "stages"])
def test_the_operations_of_one_micro_batch_are_measured(tmp_path, layout, options):
    path = str(tmp_path / "Costs.json")
    hook = measured(path, layout, options, skip=1, steps=2)
    assert load(path) == hook.measured
    times = hook.measured.operations_us
    assert {"layer_{}/MatMul".format(each) for each in range(4)} <= set(times)
    assert any(name.startswith("gradients") and time > 0 for name, time in times.items())
    assert not any(name.startswith("epl/") for name in times)
    assert 0 < sum(times.values())
    assert hook.measured.step_us >= max(times.values())


def test_what_is_computed_in_one_operation_counts_where_the_product_is(tmp_path):
    """The graph optimizer makes one operation of product, bias and activation."""
    times = measured(str(tmp_path / "costs.json"), skip=1, steps=2).measured.operations_us
    assert all(times["layer_{}/MatMul".format(each)] > 0 for each in range(4))
    fused = [each for each in range(4) if "layer_{}/BiasAdd".format(each) not in times]
    assert not any("layer_{}/Relu".format(each) in times for each in fused)


def test_stages_are_cut_by_what_was_measured(tmp_path):
    path = str(tmp_path / "Costs.json")  # capital letters count
    with open(path, "w") as file:
        json.dump({"format": 1, "device": "cpu", "tensorflow": tf.VERSION, "step_us": 10.0,
                   "bytes_per_second": None, "operations_us": {
                       "layer_0/MatMul": 30.0, "layer_1/MatMul": 10.0, "layer_2/MatMul": 10.0,
                       "layer_3/MatMul": 10.0}}, file)
    found = cut(path)
    assert found.division.starts[1] == next(
        number for number, unit in enumerate(found.chain.units)
        if number and unit.work == 10000000)
    text = "\n".join(found.describe())
    assert "as measured in '{}'".format(path) in text
    assert "50.0 % of the time" in text


def test_a_device_that_is_twice_as_fast_has_twice_as_much_to_do(tmp_path):
    path = str(tmp_path / "costs.json")
    Measured("cpu", tf.VERSION, 1.0, 1e15, {
        "layer_{}/MatMul".format(each): 10.0 for each in range(3)}).save(path)

    def products(speeds):
        with started(TWO, dict(CUT, **{"auto.costs": path, "auto.device_speeds": speeds})) as graph:
            model(layers=3)
            rewrite(graph)
            stage_of = state_of(graph).provenance.stage_of
            text = "\n".join(state_of(graph).known(Automatic).describe())
            assert text.count("50.0 % of the time") == 2
            return [stage_of(graph.get_operation_by_name("layer_{}/MatMul".format(each)))
                    for each in range(3)]

    assert products("2 1") == [0, 0, 1]
    assert products("1 2") == [0, 1, 1]


def test_a_file_that_is_of_something_else_is_refused(tmp_path):
    path = str(tmp_path / "costs.json")
    Measured("gpu", tf.VERSION, 1.0, None, {"layer_0/MatMul": 1.0}).save(path)
    with pytest.raises(ConfigError, match="was measured on a gpu, but this job runs on a cpu"):
        cut(path)
    Measured("cpu", tf.VERSION, 1.0, None, {"layer_0/MatMul": 8.0, "other/MatMul": 2.0}).save(path)
    with pytest.raises(ConfigError, match="20 % of the time .* such as 'other/MatMul'"):
        cut(path)
    Measured("cpu", tf.VERSION, 1.0, None, {"layer_0/MatMul": 9.5, "other/MatMul": 0.5}).save(path)
    assert cut(path)
    Measured("cpu", tf.VERSION, 1.0, None, {"layer_0/MatMul:0": 9.5}).save(path)
    with pytest.raises(ConfigError, match="100 % of the time .* such as 'layer_0/MatMul:0'"):
        cut(path)
    with pytest.raises(ConfigError, match="CostsHook writes such a file"):
        cut(str(tmp_path / "none.json"))


def test_workers_that_read_other_times_are_told_which_file_it_is(tmp_path):
    path = str(tmp_path / "costs.json")

    def lines(*times):
        Measured("cpu", tf.VERSION, 1.0, None, {
            "layer_{}/MatMul".format(each): time for each, time in enumerate(times)}).save(path)
        with started(TWO, dict(CUT, **{"auto.costs": path, "pipeline.strategy": "auto"})) as graph:
            model()
            rewrite(graph)
            return fingerprint._lines(graph, state_of(graph))

    one, same, other = lines(9, 1, 1, 1), lines(9, 1, 1, 1), lines(1, 1, 1, 9)
    assert one == same
    assert "auto.costs = '{}', whose content is to be the same for all".format(
        path) in fingerprint.first_difference([one, other])


def test_a_training_that_was_too_short_says_so(tmp_path, capsys):
    path = tmp_path / "costs.json"
    assert measured(str(path), runs=2, skip=3, steps=2).measured is None
    assert "nothing written to {}: 1 of 2 step(s) were traced in 4 run(s)".format(
        path) in capsys.readouterr().out
    assert not path.exists()


def test_what_cannot_be_is_refused_at_once(tmp_path):
    with started(ONE):
        for wrong in (dict(skip=-1), dict(steps=0)):
            with pytest.raises(ValueError, match="use 0 or more, and 1 or more"):
                CostsHook(str(tmp_path / "costs.json"), **wrong)
        with pytest.raises(ConfigError, match="there is no directory"):
            CostsHook(str(tmp_path / "none" / "costs.json"))
        with pytest.raises(ConfigError, match="is a directory; name a file in it"):
            CostsHook(str(tmp_path))
