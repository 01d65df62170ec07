# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The scripts with EPL show the loss and leave the checkpoint of the script for one device.

The sample's model has no dropout, so nothing but the order of sums may differ.
"""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import warm
from tests.support.jobs import ROOT, environment_for, launch

BERT = os.path.join(ROOT, "examples", "bert")
SAMPLE = os.path.join(BERT, "sample")
FLAGS = ["--vocab_file=" + os.path.join(SAMPLE, "vocab.txt"),
         "--bert_config_file=" + os.path.join(SAMPLE, "bert_config.json"),
         "--do_train", "--train_file=" + os.path.join(SAMPLE, "dev.json"),
         "--max_seq_length=52", "--max_query_length=16", "--doc_stride=32",
         "--train_batch_size=16", "--learning_rate=1e-3"]
# The held-out part of the sample is 360 sequences: these are 4 and 7 steps of 16.
FIRST, LATER = "--num_train_epochs=0.2", "--num_train_epochs=0.33"


def variables(directory):
    """Name and value of everything in the last checkpoint of a directory."""
    reader = tf.train.load_checkpoint(str(directory))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def check_same(found, expected):
    """Compare two checkpoints.

    Sums in another order changed the moments of Adam, which show the gradients, by at most 2e-8
    in all layouts tried: they are compared to 2e-7. Adam divides by the root of the second moment
    and makes up to 3e-6 of that where a gradient is nothing but rounding, as of the keys' bias:
    variables are compared to 2e-5. Batches with one row more change these by 5e-3 and 1e-2.
    """
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        moment = name.endswith(("/adam_m", "/adam_v"))
        np.testing.assert_allclose(found[name], value, rtol=1e-4 if moment else 1e-5,
                                   atol=2e-7 if moment else 2e-5, err_msg=name)


def last_loss(output):
    """The loss in the last line about a step."""
    return float(re.findall(r"step \d+/\d+  loss (\S+)", output)[-1])


@pytest.fixture(name="plain", scope="module")
def train_in_plain_tensorflow(tmp_path_factory):
    """Directory and output of a run on one device, and of one that went on from its end."""
    first, later = [str(tmp_path_factory.mktemp("plain") / name) for name in ("first", "later")]
    first_output = train_alone(first, FIRST)
    shutil.copytree(first, later)
    return (first, first_output), (later, train_alone(later, LATER))


# The script for one device has to run where EPL cannot be imported.
WITHOUT_EPL = ("import runpy, sys; sys.modules['epl'] = None; "
               "runpy.run_path(sys.argv.pop(1), run_name='__main__')")


def train_alone(directory, length):
    argv = ["-W", "ignore", "-c", WITHOUT_EPL, os.path.join(BERT, "run_squad.py"),
            "--output_dir=" + directory, length] + FLAGS
    done = warm.run(argv, environment_for(), 120, stderr=subprocess.PIPE, text=True)
    done.check_returncode()
    return done.stdout


@pytest.mark.fast
def test_a_pipeline_trains_as_one_device(tmp_path, plain):
    """One worker, two devices: two stages, two micro-batches of 8."""
    model, (expected, expected_output) = tmp_path / "model", plain[0]
    result = launch(os.path.join(BERT, "run_squad_pipe.py"), tmp_path / "logs",
                    "--num_micro_batch=2", "--output_dir=" + str(model), FIRST, *FLAGS,
                    workers=1, devices=2, warm=True).check()
    check_same(variables(model), variables(expected))
    # Printed with four decimals.
    assert last_loss(result.output) == pytest.approx(last_loss(expected_output), abs=1.1e-4)


@pytest.mark.parametrize("workers, devices", [(2, 1), (4, 1), (2, 2)])
def test_a_pipeline_over_workers_trains_as_one_device(tmp_path, plain, workers, devices):
    """Two stages on two workers, two micro-batches; one replica, or two."""
    model, (expected, expected_output) = tmp_path / "model", plain[0]
    result = launch(os.path.join(BERT, "run_squad_pipe.py"), tmp_path / "logs",
                    "--num_micro_batch=2", "--num_pipe_stages=2", "--output_dir=" + str(model),
                    FIRST, *FLAGS, workers=workers, devices=devices, environment={
                        "EPL_COMMUNICATION_COMMUNICATOR": "native",
                        "EPL_CLUSTER_DEVICE_PLACE_PREFER_INTRA_NODE": "False"},
                    warm=True).check()
    check_same(variables(model), variables(expected))
    # Printed with four decimals.
    assert last_loss(result.output) == pytest.approx(last_loss(expected_output), abs=1.1e-4)


@pytest.mark.fast
def test_workers_train_as_one_device_without_horovod(tmp_path, plain):
    """Two workers, one device each, connected by TensorFlow itself."""
    model = tmp_path / "model"
    launch(os.path.join(BERT, "run_squad_dp.py"), tmp_path / "logs", "--output_dir=" + str(model),
           FIRST, *FLAGS, environment={"EPL_COMMUNICATION_COMMUNICATOR": "native"},
           warm=True).check()
    check_same(variables(model), variables(plain[0][0]))


def test_replicas_with_micro_batches_go_on_as_one_device(tmp_path, plain):
    """One worker, two devices: two replicas, two micro-batches of 4, from a checkpoint on."""
    model, (expected, expected_output) = tmp_path / "model", plain[1]
    shutil.copytree(plain[0][0], str(model))
    result = launch(os.path.join(BERT, "run_squad_dp.py"), tmp_path / "logs",
                    "--num_micro_batch=2", "--output_dir=" + str(model), LATER, *FLAGS,
                    workers=1, devices=2, warm=True).check()
    check_same(variables(model), variables(expected))
    # Printed with four decimals.
    assert last_loss(result.output) == pytest.approx(last_loss(expected_output), abs=1.1e-4)


SAVING_MEMORY = [
    ("run_squad_pipe.py", ["--gc=auto", "--apply_groups=2", "--num_micro_batch=2"], 1, 2),
    ("run_squad_pipe.py", ["--gc=collection", "--offload=v0", "--num_micro_batch=2"], 1, 2),
    ("run_squad_dp.py", ["--gc=collection", "--apply_groups=3", "--offload=v0"], 1, 2),
    ("run_squad_dp.py", ["--gc=auto", "--zero=v2"], 2, 1),
]


@pytest.mark.parametrize("script, flags, workers, devices", SAVING_MEMORY, ids=[
    " ".join([script] + flags) for script, flags, _, _ in SAVING_MEMORY])
def test_what_saves_memory_changes_nothing_else(tmp_path, plain, script, flags, workers, devices):
    model, (expected, _) = tmp_path / "model", plain[0]
    result = launch(os.path.join(BERT, script), tmp_path / "logs", "--output_dir=" + str(model),
                    "--memory_limit_mb=1000", FIRST, *(flags + FLAGS),
                    workers=workers, devices=devices, warm=True).check()
    check_same(variables(model), variables(expected))
    table = result.output.split("when most is in use, predicted, in MiB:")[1].splitlines()
    assert len([line for line in table if re.search(r"\b0:\d+( +\d+\.\d){6}$", line)]) == devices
