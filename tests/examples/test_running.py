# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs as users have them: interrupted and started again, and on several workers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow.compat.v1 as tf

from examples.bert.summaries import read_losses
from tests.support import warm
from tests.support.jobs import ROOT, environment_for, launch

BERT = os.path.join(ROOT, "examples", "bert")
SAMPLE = os.path.join(BERT, "sample")
DEV = os.path.join(SAMPLE, "dev.json")
# The sample's model has no dropout. 360 sequences: 360 / 8 = 45 steps an epoch.
MODEL = ["--vocab_file=" + os.path.join(SAMPLE, "vocab.txt"),
         "--bert_config_file=" + os.path.join(SAMPLE, "bert_config.json"),
         "--max_seq_length=52", "--max_query_length=16", "--doc_stride=32"]
TRAIN = ["--do_train", "--train_file=" + DEV, "--train_batch_size=8", "--learning_rate=1e-4"]
PREDICT = ["--do_predict", "--predict_file=" + DEV]
LONG = ["--num_train_epochs=5.4"]
STEPS = 243
BUDGET = 240.0  # seconds that a job may take on a busy machine


def alone(directory, *flags):
    return ["-W", "ignore", os.path.join(BERT, "run_squad.py"),
            "--output_dir=" + str(directory)] + MODEL + list(flags)


def on_two_workers(directory, logs, *flags):
    return ["-m", "epl.launcher", "--num_workers", "2", "--log_dir", str(logs),
            os.path.join(BERT, "run_squad_dp.py"), "--output_dir=" + str(directory)
            ] + MODEL + list(flags)


def finish(argv):
    done = warm.run(argv, environment_for(), BUDGET, text=True)
    done.check_returncode()
    return done.stdout


def interrupt(argv, directory, number, at):
    """Start Python with these arguments and send it a signal soon after step `at`.

    Returns:
      its exit code and what it printed.
    """
    process = subprocess.Popen(
        [sys.executable] + argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment_for(), universal_newlines=True)
    try:
        deadline = time.monotonic() + BUDGET
        while at not in read_losses(str(directory)) and process.poll() is None:
            assert time.monotonic() < deadline, "step {} was not reached".format(at)
            time.sleep(0.05)
        process.send_signal(number)
        output = process.communicate(timeout=BUDGET)[0]
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, output


def first_step(output):
    return int(re.search(r"step (\d+)/", output).group(1))


@pytest.fixture(name="uninterrupted", scope="module")
def train_without_a_break(tmp_path_factory):
    """The losses of all steps of a run on one device."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    finish(alone(directory, *TRAIN + LONG))
    losses = read_losses(str(directory))
    assert list(losses) == list(range(1, STEPS + 1))
    return losses


def check_losses(found, expected, tolerance):
    """One worker repeats itself to the bit; sums of two made 4e-7, rows of other steps 0.7."""
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=tolerance)


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, uninterrupted):
    flags = TRAIN + LONG + ["--save_checkpoints_steps=60"]
    code, _ = interrupt(alone(tmp_path, *flags), tmp_path, signal.SIGKILL, 65)
    assert code == -signal.SIGKILL
    saved = int(tf.train.latest_checkpoint(str(tmp_path)).rpartition("-")[2])
    assert saved % 60 == 0 and 60 <= saved < STEPS
    again = finish(alone(tmp_path, *flags))
    assert first_step(again) == saved + 1
    check_losses(read_losses(str(tmp_path)), uninterrupted, 1e-6)


def test_two_workers_that_were_asked_to_stop_go_on(tmp_path, uninterrupted):
    """They answer no question before training has come to its end."""
    output = tmp_path / "out"
    command = on_two_workers(output, tmp_path / "logs", *TRAIN + LONG + PREDICT)
    code, said = interrupt(command, output, signal.SIGTERM, 60)
    assert code == 0, said
    stopped = re.search(r"training was asked to stop at step (\d+) of {};".format(STEPS), said)
    assert stopped and 60 <= int(stopped.group(1)) < STEPS, said
    assert not os.path.exists(str(output / "predictions.json"))
    again = finish(command)
    assert first_step(again) == int(stopped.group(1)) + 1
    assert os.path.exists(str(output / "predictions.json"))
    check_losses(read_losses(str(output)), uninterrupted, 1e-5)


# What is shown with it, other tests here show with Horovod, where that is.
WITHOUT_HOROVOD = {"EPL_COMMUNICATION_COMMUNICATOR": "native"}

# As epl-launch runs the scripts: every worker writes to a directory of its own.
OWN_DIRECTORIES = """#!/bin/bash
output=$1
shift
exec python {} --output_dir="$output" "$@"
"""


@pytest.fixture(name="shared", scope="module")
def run_on_two_workers(tmp_path_factory):
    """A short run with everything asked for, and the script that was run."""
    directory = tmp_path_factory.mktemp("shared")
    script = directory / "run.sh"
    script.write_text(OWN_DIRECTORIES.format(os.path.join(BERT, "run_squad_dp.py")))
    flags = MODEL + TRAIN + PREDICT + ["--num_train_epochs=0.5", "--profile"]
    return script, flags, launch(str(script), directory / "logs", *flags, timeout=BUDGET,
                                 environment=WITHOUT_HOROVOD).check()


@pytest.mark.fast
def test_workers_share_the_questions_and_answer_as_one(tmp_path, shared):
    _, _, result = shared
    assert "windows scored by worker 0: 176/176 in" in result.output  # of 360
    assert "bert/embeddings" not in result.of_worker(1)
    shutil.copytree(os.path.join(result.directory, "0"), str(tmp_path / "alone"))
    names = ["predictions.json", "nbest_predictions.json"]
    for name in names:
        os.remove(str(tmp_path / "alone" / name))
    finish(alone(tmp_path / "alone", *PREDICT))
    best, candidates = [json.loads((tmp_path / "alone" / name).read_text()) for name in names]
    shared_best, shared_candidates = [
        json.load(open(result.path(0, name), encoding="utf-8")) for name in names]
    assert list(shared_best.items()) == list(best.items())
    for identity, expected in candidates.items():
        for found, one in zip(shared_candidates[identity], expected):
            assert found["start_logit"] == pytest.approx(one["start_logit"], abs=1e-4)
    assert not os.path.exists(result.path(1, "predictions.json"))


def test_the_chief_leaves_curve_summaries_and_timelines(shared):
    _, _, result = shared
    assert os.path.getsize(result.path(0, "loss_curve.png")) > 1000
    assert list(read_losses(result.path(0, ""))) == list(range(1, 23))
    assert sorted(os.listdir(result.path(0, "timelines"))) == [
        "timeline_{}.{}".format(step, kind) for step in (10, 11, 12) for kind in ("json", "png")]
    written = os.listdir(result.path(1, ""))
    assert not [name for name in written if "events" in name or "loss" in name or "time" in name]


def test_what_is_trained_already_is_only_answered(shared):
    """Worker 1 cannot see the chief's checkpoint; it learns from the chief that there is one."""
    script, flags, result = shared
    again = launch(str(script), result.directory, *flags, timeout=BUDGET,
                   environment=WITHOUT_HOROVOD).check()
    assert "loss_curve.png" in again.output and "step " not in again.output
    assert "windows scored by worker 0: 176/176" in again.output


LEAVES_EARLY = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
import epl
from examples.bert import parallel
from examples.bert.errors import exit_code

def main():
    epl.init()
    worker = parallel.this_worker()
    joined = worker.exchange.gather(np.full([worker.index, 2], worker.index, np.float32))
    assert joined.tolist() == [[1.0, 1.0]]
    assert worker.exchange.from_chief(np.int64([[worker.index + 5]])).tolist() == [[5]]
    print("exchanged", flush=True)
    if worker.is_chief:
        worker.exchange.gather(np.zeros([1, 2], np.float32))

sys.exit(exit_code(main))
"""


@pytest.mark.parametrize("communicator", ["horovod", "native"])
def test_a_worker_that_waits_for_one_that_is_gone_gets_an_error(tmp_path, communicator):
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES_EARLY.format(root=ROOT))
    result = launch(str(script), tmp_path / "logs",
                    environment={"EPL_COMMUNICATION_COMMUNICATOR": communicator})
    assert result.code == 1
    assert result.output.count("exchanged") == 2
    assert "error: the connection to the other workers is lost" in result.of_worker(0)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("flags, message", [
    (TRAIN, "one device with one micro-batch"),
    (PREDICT, "--profile shows training steps; give --do_train too")])
def test_nothing_to_profile(tmp_path, flags, message):
    argv = ["-W", "ignore", os.path.join(BERT, "run_squad_dp.py"), "--profile",
            "--output_dir=" + str(tmp_path / "out")] + MODEL + flags
    done = warm.run(argv, environment_for(), BUDGET, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "error: --profile" in done.stderr and message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_matplotlib_one_line_says_so(tmp_path):
    blocked = ("import runpy, sys; sys.modules['matplotlib'] = None; "
               "runpy.run_path(sys.argv.pop(1), run_name='__main__')")
    argv = alone(tmp_path, "--num_train_epochs=0.05", *TRAIN)
    said = finish(argv[:2] + ["-c", blocked] + argv[2:])
    assert "no {}: it needs matplotlib".format(tmp_path / "loss_curve.png") in said
    assert not os.path.exists(str(tmp_path / "loss_curve.png"))
