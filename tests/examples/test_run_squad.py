# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The scripts as a user starts them: a whole small run, and what bad input leads to."""

import json
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from tests.support import warm
from tests.support.jobs import ROOT, environment_for, launch

BERT = os.path.join(ROOT, "examples", "bert")
SAMPLE = os.path.join(BERT, "sample")
TINY = os.path.join(ROOT, "scripts", "train_bert_tiny_dp.sh")
TINY_PIPE = os.path.join(ROOT, "scripts", "train_bert_tiny_pipe.sh")
BASE = os.path.join(ROOT, "scripts", "train_bert_base_{}.sh")


def sample(name):
    return os.path.join(SAMPLE, name)


DEFAULTS = ["--vocab_file=" + sample("vocab.txt"),
            "--bert_config_file=" + sample("bert_config.json"),
            "--max_seq_length=52", "--max_query_length=16", "--doc_stride=16"]


def start(script, *arguments, **changes):
    """Run a script of the example; flags come after the defaults, so that they win."""
    argv = ["-W", "ignore", os.path.join(BERT, script)] + DEFAULTS + list(arguments)
    return warm.run(argv, environment_for(changes), 120, stderr=subprocess.PIPE, text=True)


def part_of_dev(tmp_path, count=4):
    """The first paragraphs of the held-out part as a file of its own."""
    with open(sample("dev.json")) as file:
        data = json.load(file)
    data["data"][0]["paragraphs"] = data["data"][0]["paragraphs"][:count]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(data))
    return str(path), [q["id"] for p in data["data"][0]["paragraphs"] for q in p["qas"]]


def test_training_goes_on_where_it_ended_and_every_question_gets_an_answer(tmp_path):
    path, ids = part_of_dev(tmp_path)
    flags = ["--do_train", "--train_file=" + path, "--train_batch_size=6"]
    first = start("run_squad.py", "--num_train_epochs=2", "--output_dir=" + str(tmp_path / "moved"),
                  *flags)
    assert first.returncode == 0, first.stderr
    assert "step 4/4" in first.stdout and "model.ckpt-4" in first.stdout
    (tmp_path / "moved").rename(tmp_path / "out")
    second = start("run_squad.py", "--num_train_epochs=3", "--do_predict",
                   "--predict_file=" + path, "--output_dir=" + str(tmp_path / "out"), *flags)
    assert second.returncode == 0, second.stderr
    assert "step 6/6" in second.stdout and "model.ckpt-6" in second.stdout
    best = json.loads((tmp_path / "out" / "predictions.json").read_text())
    several = json.loads((tmp_path / "out" / "nbest_predictions.json").read_text())
    assert list(best) == list(several) == ids
    for identity in ids:
        assert best[identity] == several[identity][0]["text"]
        assert sum(c["probability"] for c in several[identity]) == pytest.approx(1.0)


def with_unanswerable(tmp_path):
    """A version 2.0 file: the held-out questions, and the same asked about other paragraphs."""
    path, _ = part_of_dev(tmp_path, 6)
    with open(path) as file:
        data = json.load(file)
    paragraphs = data["data"][0]["paragraphs"]
    for paragraph, other in zip(paragraphs, paragraphs[1:]):
        paragraph["qas"] += [
            {"id": q["id"] + "-no", "question": q["question"], "answers": [], "is_impossible": True}
            for q in other["qas"]]
    (tmp_path / "questions.json").write_text(json.dumps(dict(data, version="v2.0")))
    return path, [q for p in paragraphs for q in p["qas"]]


def test_questions_without_an_answer(tmp_path):
    path, asked = with_unanswerable(tmp_path)
    output = tmp_path / "out"
    flags = ["--predict_file=" + path, "--do_predict", "--version_2_with_negative",
             "--n_best_size=3", "--output_dir=" + str(output)]
    done = start("run_squad.py", "--do_train", "--train_file=" + path, "--train_batch_size=6",
                 "--num_train_epochs=1", *flags)
    assert done.returncode == 0, done.stderr
    odds = json.loads((output / "null_odds.json").read_text())
    several = json.loads((output / "nbest_predictions.json").read_text())
    assert list(odds) == list(several) == [q["id"] for q in asked]
    for threshold in (0.0, sorted(odds.values())[len(odds) // 2]):
        done = start("run_squad.py", "--null_score_diff_threshold={!r}".format(threshold), *flags)
        assert done.returncode == 0, done.stderr
        best = json.loads((output / "predictions.json").read_text())
        for identity, candidates in several.items():
            answers = [c["text"] for c in candidates if c["text"]]
            assert 2 <= len(candidates) == len(answers) + 1 <= 4
            assert best[identity] == ("" if odds[identity] > threshold else answers[0])
    said = subprocess.check_output(
        [sys.executable, os.path.join(BERT, "evaluate-v2.0.py"), path,
         str(output / "predictions.json"), "-n", str(output / "null_odds.json")])
    scores = json.loads(said.decode())
    assert scores["total"] == len(asked) > scores["NoAns_total"] > 0
    assert scores["best_exact"] >= scores["exact"]


@pytest.mark.parametrize("script, workers, devices", [
    ("run_squad_dp.py", 2, 1), ("run_squad_pipe.py", 1, 2)])
def test_all_ways_take_questions_without_an_answer(tmp_path, script, workers, devices):
    """Workers share the features: one of them converts each file."""
    path, asked = with_unanswerable(tmp_path)
    result = launch(os.path.join(BERT, script), tmp_path / "logs", *DEFAULTS, "--do_train",
                    "--train_file=" + path, "--train_batch_size=8", "--num_train_epochs=0.5",
                    "--do_predict", "--predict_file=" + path, "--version_2_with_negative",
                    "--feature_cache_dir=" + str(tmp_path / "cache"),
                    "--output_dir=" + str(tmp_path / "out"),
                    workers=workers, devices=devices, warm=True).check()
    assert result.output.count("features of questions.json: 33/33") == 2
    assert len([n for n in os.listdir(str(tmp_path / "cache")) if n.endswith(".tfrecord")]) == 2
    assert list(json.loads((tmp_path / "out" / "null_odds.json").read_text())) == [
        q["id"] for q in asked]


def test_two_workers_train_and_the_chief_scores(tmp_path):
    result = launch(TINY, tmp_path / "logs", environment={"EPOCHS": "0.05"}).check()
    assert '{"exact_match": ' in result.of_worker(0)
    assert "on 2 worker(s)" in result.of_worker(0)
    assert "exact_match" not in result.of_worker(1)
    assert os.path.exists(result.path(0, "predictions.json"))
    assert not os.path.exists(result.path(1, "predictions.json"))
    assert not any("ckpt" in name for name in os.listdir(result.path(1, "")))


def test_a_pipeline_over_two_devices_trains_and_scores(tmp_path):
    result = launch(TINY_PIPE, tmp_path / "logs", "--train_file=" + sample("dev.json"), workers=1,
                    devices=2, environment={"EPOCHS": "0.4"}).check()
    assert ("on 1 worker(s) x 1 replica(s) of 2 stage(s), 4 micro-batch(es) of 16 each"
            in result.of_worker(0))
    assert '{"exact_match": ' in result.of_worker(0)


def test_a_batch_that_two_workers_cannot_share(tmp_path):
    result = launch(TINY, tmp_path / "logs", environment={"BATCH": "7"})
    assert result.code == 1
    assert "error: --train_batch_size 7" in result.output and "2 worker(s)" in result.output
    assert "Traceback" not in result.output


ENTRY = {"id": "q9", "question": "c?", "answers": [{"text": "b", "answer_start": 2}]}


def questions(*entries):
    """A question file about the paragraph "a b"."""
    return json.dumps({"data": [{"paragraphs": [{"context": "a b", "qas": list(entries)}]}]})


WRONG_PLACE = questions(dict(ENTRY, answers=[{"text": "b", "answer_start": 0}]))
BAD_FILES = [
    ("{", "is not JSON: "),
    ('{"data": []}', "holds no questions"),
    ('{"version": "1.1"}', "'data' is missing"),
    (questions({"id": "q9", "question": "c?"}), "question 'q9': 'answers' is missing"),
    (questions(dict(ENTRY, answers=[])), "question 'q9': 'answers' is empty"),
    (WRONG_PLACE, "question 'q9': the answer is 'b', but at answer_start 0 the paragraph of "
                  "3 characters reads 'a'"),
    (questions(dict(ENTRY, question=" ")), "question 'q9': the question is empty"),
    (questions(dict(ENTRY, is_impossible=True)), "give --version_2_with_negative"),
    (questions(ENTRY, ENTRY), "the question id 'q9' occurs twice"),
    (questions(dict(ENTRY, id=True)), "data[0].paragraphs[0]: 'id' is of type bool, not str"),
    (questions(dict(ENTRY, id=1.5)), "data[0].paragraphs[0]: 'id' is of type float, not str"),
    (questions(dict(ENTRY, id=9), dict(ENTRY, id="9")), "the question id '9' occurs twice"),
    (questions(dict(ENTRY, is_impossible=2)), "'is_impossible' is 2, not true or false"),
    (questions(dict(ENTRY, is_impossible=1)), "give --version_2_with_negative"),
    (questions(dict(ENTRY, answers=[{"text": "b", "answer_start": 2.5}])),
     "question 'q9': 'answer_start' is 2.5, not a whole number"),
    (questions(dict(ENTRY, answers=[{"text": "b", "answer_start": float("inf")}])),
     "question 'q9': 'answer_start' is inf, not a whole number"),
    ('{"data": [{"paragraphs": [{"context": "a"}]}]}', "data[0].paragraphs[0]: 'qas' is missing"),
    ('{"data": [{"paragraphs": {}}]}', "data[0]: 'paragraphs' is of type dict, not list"),
    ("[" * 100000, "is nested too deeply"),
    (questions(dict(ENTRY, is_impossible="no")),
     "question 'q9': 'is_impossible' is 'no', not true or false"),
    (questions(dict(ENTRY, question="c \ud83d")),
     "question 'q9': 'question' is not Unicode text: character 2 is U+D83D"),
    (questions(dict(ENTRY, answers=[{"text": "b", "answer_start": "2"}])),
     "question 'q9': 'answer_start' is of type str, not int"),
]


def read(path, content):
    """What reading a question file says about it."""
    from examples.bert.errors import UserError
    from examples.bert.squad import read_questions

    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_questions(str(path), True, False)
    return str(caught.value)


@pytest.mark.parametrize("content, message", BAD_FILES,
                         ids=[message[:60] for _, message in BAD_FILES])
def test_a_bad_question_file_is_named_with_the_question(tmp_path, content, message):
    said = read(tmp_path / "bad.json", content)
    assert message in said and str(tmp_path / "bad.json") in said


@pytest.mark.parametrize("change, identity", [
    ({"id": 9}, "9"), ({"is_impossible": 0}, "q9"), ({"is_impossible": None}, "q9"),
    ({"answers": [{"text": "b", "answer_start": 2.0}]}, "q9"), ({}, "q9")], ids=str)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "bom"])
def test_what_other_programs_write_is_read(tmp_path, change, identity, mark):
    from examples.bert.squad import Answer, Question, read_questions

    path = tmp_path / "questions.json"
    path.write_text(mark + questions(dict(ENTRY, **change)), "utf-8")
    found = read_questions(str(path), True, False).questions
    assert found == [Question(identity, "c?", "a b", Answer(2, 3))]
    assert type(found[0].answer.start) is int


def test_questions_marked_with_1_have_no_answer(tmp_path):
    from examples.bert.squad import read_questions

    path = tmp_path / "questions.json"
    path.write_text(questions(dict(ENTRY, is_impossible=1)))
    assert read_questions(str(path), True, True).questions[0].answer is None


TRAIN = ["--do_train", "--train_file=" + sample("dev.json")]
BAD_FLAGS = [
    ([], "give --do_train, --do_predict or both"),
    (["--do_predict"], "--do_predict needs --predict_file"),
    (["--do_predict", "--predict_file=" + sample("dev.json")], "no checkpoint in --output_dir"),
    (TRAIN + ["--max_seq_length=999"],
     "--max_seq_length 999 exceeds the model's max_position_embeddings 128"),
    (TRAIN + ["--init_checkpoint=none"], "cannot read the checkpoint 'none'"),
    (TRAIN + ["--num_train_epochs=0.01"], "360 sequences in batches of 32 make no step in 0.01"),
    (TRAIN + ["--num_pipe_stages=2"], "--num_pipe_stages 2 needs run_squad_dp.py or run_squad_"),
    (TRAIN + ["--amp=o1"], "--amp o1 needs run_squad_dp.py"),
    (TRAIN + ["--memory_limit_mb=9"], "--memory_limit_mb 9 needs run_squad_dp.py"),
    (TRAIN + ["--null_score_diff_threshold=1"], "has no effect without --version_2_with_negative"),
]


def refused(tmp_path, flags):
    """What the script for one device says to flags that it cannot work with."""
    from examples.bert import run_squad
    from examples.bert.errors import UserError

    with pytest.raises(UserError) as caught:
        run_squad.main(DEFAULTS + ["--output_dir=" + str(tmp_path)] + flags)
    return str(caught.value)


@pytest.mark.parametrize("flags, message", BAD_FLAGS, ids=[message for _, message in BAD_FLAGS])
def test_flags_that_cannot_work(tmp_path, flags, message):
    assert message in refused(tmp_path, flags)


def test_a_vocabulary_of_another_model(tmp_path):
    large = tmp_path / "large.txt"
    with open(sample("vocab.txt")) as file:
        pieces = file.read()
    large.write_text(pieces + "more\n")
    said = refused(tmp_path, TRAIN + ["--vocab_file=" + str(large)])
    count = len(pieces.splitlines())
    assert "'{}' has {} word pieces, but".format(large, count + 1) in said
    assert "says vocab_size {}".format(count) in said


def test_a_vocabulary_of_another_checkpoint(tmp_path):
    """The configuration fits the vocabulary, but the checkpoint has one more row than it says."""
    with open(sample("vocab.txt")) as file:
        pieces = len(file.read().splitlines())
    with tf.Graph().as_default(), tf.Session() as session:
        table = tf.get_variable("bert/embeddings/word_embeddings", [pieces + 1, 2])
        session.run(table.initializer)
        path = tf.train.Saver().save(session, str(tmp_path / "other" / "model.ckpt"))
    expected = "'{}' says vocab_size {}, but the checkpoint '{}' has {} rows".format(
        sample("bert_config.json"), pieces, path, pieces + 1)
    assert expected in refused(tmp_path, TRAIN + ["--init_checkpoint=" + path])
    # Training would go on from the checkpoint in the output directory.
    flags = TRAIN + ["--output_dir=" + str(tmp_path / "other")]
    assert expected in refused(tmp_path, flags)


def test_a_table_that_is_padded(tmp_path, capsys):
    """Configuration and checkpoint have more rows than the vocabulary has pieces."""
    from examples.bert import run_squad

    with open(sample("bert_config.json")) as file:
        config = json.load(file)
    pieces = config["vocab_size"]
    config["vocab_size"] = pieces + 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "two.json").write_text(questions(ENTRY, dict(ENTRY, id=1)))
    flags = ["--bert_config_file=" + str(tmp_path / "config.json"), "--do_train", "--do_predict",
             "--train_file=" + str(tmp_path / "two.json"), "--num_train_epochs=3",
             "--predict_file=" + str(tmp_path / "two.json"), "--train_batch_size=2"]
    for output in ("first", "second"):  # The second starts from the first's end.
        run_squad.main(DEFAULTS + flags + ["--output_dir=" + str(tmp_path / output)])
        flags.append("--init_checkpoint=" + str(tmp_path / "first" / "model.ckpt-3"))
        assert ("'{}' has {} word pieces and the model's table {} rows; the last 3 are not used"
                .format(sample("vocab.txt"), pieces, pieces + 3)) in capsys.readouterr().out
        with open(str(tmp_path / output / "predictions.json")) as file:
            assert sorted(json.load(file)) == ["1", "q9"]


@pytest.mark.fast
def test_a_model_that_was_trained_elsewhere_answers(tmp_path):
    from examples.bert import run_squad

    path, _ = part_of_dev(tmp_path, 2)
    answer = ["--do_predict", "--predict_file=" + path]
    trained, elsewhere = tmp_path / "trained", tmp_path / "else" / "where"
    run_squad.main(DEFAULTS + answer + [
        "--do_train", "--train_file=" + path, "--train_batch_size=1", "--num_train_epochs=1",
        "--save_checkpoints_steps=1", "--output_dir=" + str(trained)])
    kept = {name for name in os.listdir(str(trained)) if name.endswith(".index")}
    assert kept == {"model.ckpt-{}.index".format(step) for step in range(2, 7)}
    run_squad.main(DEFAULTS + answer + [
        "--init_checkpoint=" + str(trained / "model.ckpt-6"), "--output_dir=" + str(elsewhere)])
    name = "nbest_predictions.json"
    assert (elsewhere / name).read_text() == (trained / name).read_text()


@pytest.mark.parametrize("change, message", [
    ({"question": "\u200b"}, "no token is left of its text"),
    ({"answers": [{"text": "\u200b", "answer_start": 2}]}, "no token is left of its answer"),
])
def test_a_question_of_which_nothing_is_left_ends_the_run_before_training(
        tmp_path, change, message):
    path = tmp_path / "bad.json"
    entry = dict(ENTRY, answers=[{"text": "b", "answer_start": 4}])
    data = {"data": [{"paragraphs": [{"context": "a \u200b b", "qas": [dict(entry, **change)]}]}]}
    path.write_text(json.dumps(data))
    said = refused(tmp_path, ["--do_train", "--train_file=" + str(path)])
    assert said.startswith("'{}', question 'q9': {}".format(path, message))
    if "question" in change:
        said = refused(tmp_path, TRAIN + ["--do_predict", "--predict_file=" + str(path)])
        assert said.startswith("'{}', question 'q9': {}".format(path, message))
        assert tf.train.latest_checkpoint(str(tmp_path)) is None


FOUR_DEVICES = dict(EPL_NUM_WORKERS="1", EPL_WORKER_INDEX="0", EPL_GPU_PER_WORKER="4",
                    EPL_DEVICE_TYPE="cpu")
BAD_RUNS = {
    "missing file": ("run_squad_dp.py", ["--do_train", "--train_file=none.json"], {}, 1,
                     "cannot read 'none.json': No such file or directory"),
    "unknown flag": ("run_squad_dp.py", TRAIN + ["--learning_rat=1"], {}, 2,
                     "unrecognized arguments: --learning_rat=1"),
    "refused by EPL": ("run_squad_dp.py", TRAIN + ["--gc=all"], {}, 1,
                       "'gradient_checkpoint.type' = 'all' is not one of"),
    "too little memory": ("run_squad_dp.py", TRAIN + ["--memory_limit_mb=1"], {}, 1,
                          "MiB, and --memory_limit_mb is 1: use --gc auto"),
    "stages on too few devices": (
        "run_squad_pipe.py", TRAIN + ["--num_pipe_stages=2"], {}, 1,
        "needs a multiple of 2 devices in each worker, and there are 1"),
    # Without --num_pipe_stages every device of the worker is a stage.
    "more devices than layers": (
        "run_squad_pipe.py", TRAIN, FOUR_DEVICES, 1,
        "num_hidden_layers 2 cannot be divided into 4 equal stages"),
}


@pytest.mark.parametrize("name", sorted(BAD_RUNS))
def test_a_run_that_cannot_work_ends_with_one_error(tmp_path, name):
    script, flags, environment, code, message = BAD_RUNS[name]
    done = start(script, "--output_dir=" + str(tmp_path / "out"), *flags, **environment)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("way", ["dp", "pipe"])
def test_the_base_scripts_say_how_to_get_what_is_missing(tmp_path, way):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-v1.1.json").write_text("{}")
    done = subprocess.run(["bash", BASE.format(way)], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, env=environment_for())
    assert done.returncode == 2 and done.stdout == ""
    assert "uncased_L-12_H-768_A-12/vocab.txt" in done.stderr
    assert "data/dev-v1.1.json" in done.stderr.splitlines()[0]
    assert "data/train-v1.1.json" not in done.stderr.splitlines()[0]
    assert "curl" in done.stderr
