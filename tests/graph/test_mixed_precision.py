# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""amp.level and amp.dtype: what is computed in 16 bits, and what is refused."""

import os
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.cluster import Cluster
from epl.errors import ConfigError
from epl.runtime import precision
from tests.graph import devices
from tests.graph.devices import ACCUMULATION, BOTH, ONE

CASTS_ON_CPUS = hasattr(tf.ConfigProto().graph_options.rewrite_options, "auto_mixed_precision_cpu")
HAS_BFLOAT16 = bool(precision._processor_flags().intersection(precision._BFLOAT16))
ROWS = np.random.RandomState(0).randn(32, 64).astype(np.float32)
HALF = {"amp.level": "o1"}
BFLOAT16 = {"amp.level": "O1", "amp.dtype": "bfloat16"}

casting = pytest.mark.skipif(
    not CASTS_ON_CPUS, reason="this TensorFlow casts on GPUs only: another test shows the error")


def trained(stage, seen):
    x = tf.placeholder(tf.float32, [None, 64])
    with stage(0):
        hidden = devices.dense(x, 64, "first", tf.nn.relu)
    with stage(1):
        loss = tf.reduce_mean(tf.square(devices.dense(hidden, 8, "second") - x[:, :8]))
    step = tf.train.AdamOptimizer(0.01).minimize(loss)
    options, metadata = tf.RunOptions(output_partition_graphs=True), tf.RunMetadata()
    with devices.session() as session:
        found = [session.run([loss, step], {x: ROWS}, options, metadata)[0] for _ in range(4)]
    for graph in metadata.partition_graphs:
        seen.update((node.op, tf.as_dtype(node.attr[name].type)) for node in graph.node
                    for name in ("T", "DstT") if name in node.attr)
    return found


@casting
@pytest.mark.parametrize("layout", [ONE, ACCUMULATION, BOTH], ids=str)
@pytest.mark.parametrize("config, dtype", [(HALF, tf.float16), (BFLOAT16, tf.bfloat16)],
                         ids=["float16", "bfloat16"])
def test_products_are_of_16_bits(config, dtype, layout):
    if dtype == tf.bfloat16 and not HAS_BFLOAT16:
        pytest.skip("this processor computes no bfloat16: float16 is tried beside this")
    seen = set()
    found = devices.run(layout, lambda stage: trained(stage, seen), config)
    assert ("Cast", dtype) in seen
    if dtype == tf.bfloat16:
        assert {dtype} == {kind for name, kind in seen if "MatMul" in name}
    seen.clear()
    expected = devices.run(None, lambda stage: trained(stage, seen))
    assert ("Cast", dtype) not in seen
    # bfloat16 has 8 bits: a relative error of 2^-9 per rounding, a few of them behind one another.
    np.testing.assert_allclose(found, expected, rtol=1e-2)
    assert max(abs(np.subtract(found, expected))) > 0


@pytest.mark.skipif(CASTS_ON_CPUS, reason="this TensorFlow casts on CPUs: the test above shows it")
@pytest.mark.parametrize("config", [HALF, BFLOAT16], ids=["float16", "bfloat16"])
def test_a_tensorflow_that_casts_on_gpus_only_is_named(config):
    """The cure that the error names, float32, is tried in test_loss_scale.py."""
    with pytest.raises(ConfigError, match=r"on CPUs: TensorFlow \S+ casts on GPUs only.*"
                                          "amp.dtype = 'float32'"):
        with devices.started(ONE, config):
            pass


def cluster(kind):
    return mock.create_autospec(Cluster, instance=True, device_type=kind, worker_index=3)


def test_on_gpus_it_is_tensorflows_pass_of_float16():
    session = tf.ConfigProto()
    config = epl.Config(HALF)
    precision.check_precision(config, cluster("gpu"))
    precision.set_precision(session, config, cluster("gpu"))
    optimizers = session.graph_options.rewrite_options
    assert optimizers.auto_mixed_precision == optimizers.ON
    with pytest.raises(ConfigError, match="bfloat16' on GPUs.*use amp.dtype = 'float16'"):
        precision.check_precision(epl.Config(BFLOAT16), cluster("gpu"))


def test_without_a_launcher_the_devices_are_those_that_tensorflow_finds(monkeypatch):
    found = []
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: found)
    for devices_found, name in (([], "auto_mixed_precision_cpu"), (["GPU:0"],
                                                                   "auto_mixed_precision")):
        found[:] = devices_found
        session = tf.ConfigProto()
        optimizers = session.graph_options.rewrite_options
        if not hasattr(optimizers, name):
            with pytest.raises(ConfigError, match="on CPUs: TensorFlow 1.* casts on GPUs only"):
                precision.check_precision(epl.Config(HALF), cluster(""))
            continue
        precision.check_precision(epl.Config(HALF), cluster(""))
        precision.set_precision(session, epl.Config(HALF), cluster(""))
        assert getattr(optimizers, name) == optimizers.ON


@casting
def test_a_processor_without_bfloat16_is_named(monkeypatch):
    monkeypatch.setattr(precision, "_processor_flags", lambda: frozenset(["avx512f"]))
    with pytest.raises(ConfigError, match="neither of avx512_bf16, amx_bf16"):
        precision.check_precision(epl.Config(BFLOAT16), cluster("cpu"))
    precision.check_precision(epl.Config(HALF), cluster("cpu"))


@casting
def test_on_servers_of_tensorflow_cpus_are_not_rounded_to_it():
    """Its pass would end the process."""
    with pytest.raises(ConfigError, match="'float16' on CPUs, and communication.communicator = "
                                          "'native': TensorFlow .* cannot cast there"):
        precision.check_beside(epl.Config(HALF), cluster("cpu"), "native")
    for config, device, name in ((HALF, "cpu", "shared_memory"), (HALF, "gpu", "native"),
                                 (BFLOAT16, "cpu", "native"), ({}, "cpu", "native")):
        precision.check_beside(epl.Config(config), cluster(device), name)


def test_a_session_that_switches_it_off_is_refused():
    for change, name in ((lambda o: setattr(o, "disable_meta_optimizer", True),
                          "disable_meta_optimizer"),
                         (lambda o: setattr(o, "auto_mixed_precision", o.OFF),
                          r"rewrite_options.auto_mixed_precision\)")):
        session = tf.ConfigProto()
        change(session.graph_options.rewrite_options)
        with pytest.raises(ConfigError, match=name):
            precision.set_precision(session, epl.Config(HALF), cluster("gpu"))


def test_gradients_times_the_scale_do_not_travel_in_16_bits():
    asked = {"amp.level": "o1", "amp.dtype": "float32", "communication.fp16": True}
    with pytest.raises(ConfigError, match="communication.fp16 .* set amp.loss_scale to a number"):
        precision.check_precision(epl.Config(asked), cluster("gpu"))
    precision.check_precision(epl.Config(dict(asked, **{"amp.loss_scale": 8})), cluster("gpu"))


def test_what_nothing_is_asked_of_stays_as_it_is():
    for config in ({}, {"amp.level": "o1", "amp.dtype": "float32"}, {"amp.dtype": "bfloat16"}):
        session = tf.ConfigProto()
        precision.check_precision(epl.Config(config), cluster("gpu"))
        precision.set_precision(session, epl.Config(config), cluster("gpu"))
        assert session == tf.ConfigProto()


@casting
def test_the_log_says_what_was_cast(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        devices.run(ONE, lambda stage: trained(stage, set()), dict(HALF, **{"amp.debug_log": True}))
    written = os.listdir(str(tmp_path / "epl_amp" / "worker_0"))
    assert any("paintbuckets" in name for name in written)


@casting
def test_a_check_against_plain_float32_is_refused():
    with devices.started(ONE, HALF):
        with pytest.raises(ConfigError, match="amp.dtype = 'float32'"):
            epl.check()
    with devices.started(ONE, {"amp.level": "o1", "amp.dtype": "float32"}):
        assert epl.check() is not None


@pytest.mark.parametrize("value", [
    "static", "0.5", 0.5, 0, -8, float("nan"), float("inf"), "1e999"])
def test_a_loss_scale_is_dynamic_or_a_number_of_one_or_more(value):
    with pytest.raises(ConfigError, match="neither 'dynamic' nor a number of 1 or more"):
        epl.Config({"amp.loss_scale": value})


def test_a_loss_scale_may_be_written_as_text():
    with mock.patch.dict(os.environ, {"EPL_AMP_LOSS_SCALE": "128"}):
        assert epl.Config().amp.loss_scale == 128.0
    assert epl.Config({"amp.loss_scale": "Dynamic"}).amp.loss_scale == "dynamic"
