# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions are converted once, whoever asks, and again when anything has changed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from examples.bert import feature_cache, tokenization
from examples.bert.errors import UserError
from examples.bert.feature_cache import FeatureCache
from examples.bert.features import Lengths, Reader
from examples.bert.squad import read_questions
from examples.bert.tokenization import Vocabulary
from tests.support.jobs import environment_for

LENGTHS = Lengths(12, 4, 3)
TEXT = "\u00c4 b c, d e f g h i j a b c"


@pytest.fixture(name="files")
def make_files(tmp_path):
    """A directory with a vocabulary and some questions."""
    (tmp_path / "vocab.txt").write_text(
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + "\n".join("abcdefghij"), "utf-8")
    write_questions(tmp_path, [TEXT] * 3)
    return tmp_path


def write_questions(directory, paragraphs, question="a b c"):
    data = [{"context": text, "qas": [
        {"id": "q{}-{}".format(p, q), "question": question,
         "answers": [{"text": "c, d", "answer_start": 4}]} for q in range(2)]}
        for p, text in enumerate(paragraphs)]
    (directory / "questions.json").write_text(json.dumps({"data": [{"paragraphs": data}]}))


def asked(directory, with_answers=True):
    return read_questions(str(directory / "questions.json"), with_answers, False)


def reader_of(directory, lower_case=True, lengths=LENGTHS):
    return Reader(Vocabulary(str(directory / "vocab.txt")), lower_case, lengths)


def prepare(directory, **changes):
    """The path of the windows, after they were prepared."""
    cache = FeatureCache(str(directory / "cache"), 1)
    return cache.prepare(asked(directory), reader_of(directory, **changes)).path


def check_same(found, expected, with_places=True):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert (one.question, one.offset, one.target) == (
            other.question, other.offset, other.target)
        assert one.ids.dtype == other.ids.dtype
        np.testing.assert_array_equal(one.ids, other.ids)
        if with_places:
            assert one.places.dtype == other.places.dtype
            assert one.central.dtype == other.central.dtype
            np.testing.assert_array_equal(one.places, other.places)
            np.testing.assert_array_equal(one.central, other.central)
        else:
            assert len(one.places) == len(one.central) == 0


def test_windows_come_back_as_they_were_made(files):
    expected = reader_of(files).windows(asked(files).questions)
    assert len(expected) > 6 and any(window.target != (0, 0) for window in expected)
    cache = FeatureCache(str(files / "cache"), 1)
    for _ in range(2):
        stored = cache.prepare(asked(files), reader_of(files))
        check_same(stored.load(with_places=True), expected)
        check_same(stored.load(with_places=False), expected, with_places=False)


def test_what_is_there_is_not_made_again(files, capsys):
    path = prepare(files)
    before = os.stat(path)
    assert "features of questions.json: 6/6" in capsys.readouterr().out
    assert prepare(files) == path
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert capsys.readouterr().out == ""


def test_the_name_of_a_file_does_not_matter(files):
    path = prepare(files)
    os.rename(str(files / "questions.json"), str(files / "others.json"))
    moved = read_questions(str(files / "others.json"), True, False)
    cache = FeatureCache(str(files / "cache"), 1)
    assert cache.prepare(moved, reader_of(files)).path == path


@pytest.mark.parametrize("change", [
    lambda files, patch: write_questions(files, [TEXT] * 3, "a b d"),
    lambda files, patch: (files / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\na\nb\nc", "utf-8"),
    lambda files, patch: patch.setattr(feature_cache, "_FORMAT", 0),
    lambda files, patch: patch.setattr(tokenization.unicodedata, "unidata_version", "0"),
], ids=["questions", "vocabulary", "format", "unicode"])
def test_a_change_makes_windows_of_their_own(files, monkeypatch, change):
    path = prepare(files)
    change(files, monkeypatch)
    assert prepare(files) != path


@pytest.mark.parametrize("changes", [
    {"lower_case": False}, {"lengths": LENGTHS._replace(sequence=13)},
    {"lengths": LENGTHS._replace(question=3)}, {"lengths": LENGTHS._replace(stride=2)}], ids=str)
def test_a_setting_makes_windows_of_their_own(files, changes):
    assert prepare(files, **changes) != prepare(files)


def test_windows_with_answers_are_not_those_without(files):
    cache = FeatureCache(str(files / "cache"), 1)
    stored = cache.prepare(asked(files, with_answers=False), reader_of(files))
    assert stored.path != prepare(files)
    assert {window.target for window in stored.load(with_places=False)} == {(0, 0)}


def test_other_code_makes_windows_of_its_own(files, monkeypatch, tmp_path):
    path = prepare(files)
    with open(str(tokenization.__file__)) as source:
        (tmp_path / "other.py").write_text(source.read() + "\n# changed\n")
    monkeypatch.setattr(tokenization, "__file__", str(tmp_path / "other.py"))
    assert prepare(files) != path


def test_a_question_that_cannot_be_converted_leaves_nothing(files):
    write_questions(files, [TEXT, TEXT], question="\u200b")
    with pytest.raises(UserError) as caught:
        prepare(files)
    assert str(caught.value) == "'{}', question 'q0-0': no token is left of its text".format(
        files / "questions.json")
    assert [name for name in os.listdir(str(files / "cache")) if not name.endswith(".lock")] == []


def test_a_writer_that_was_killed_is_in_nobodys_way(files):
    path = prepare(files)
    with open(path, "rb") as file:
        whole = file.read()
    os.remove(path)
    with open(path + ".part", "wb") as file:
        file.write(whole[:100])
    assert prepare(files) == path
    assert not os.path.exists(path + ".part")
    with open(path, "rb") as file:
        assert file.read() == whole


def cut_short(content):
    return content[:len(content) // 2]


def without_the_end(content):
    """Whole records, but not the last."""
    ends, position = [], 0
    while position < len(content):
        position += 16 + int.from_bytes(content[position:position + 8], "little")
        ends.append(position)
    return content[:ends[-2]]


def one_bit_more(content):
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


@pytest.mark.parametrize("damage", [cut_short, without_the_end, one_bit_more])
def test_a_damaged_file_is_named(files, damage):
    path = prepare(files)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(damage(content))
    stored = FeatureCache(str(files / "cache"), 1).prepare(asked(files), reader_of(files))
    with pytest.raises(UserError) as caught:
        stored.load(with_places=True)
    assert "'{}' is damaged".format(path) in str(caught.value)
    assert "delete it" in str(caught.value)


def test_windows_of_other_questions_are_not_taken(files):
    path = prepare(files)
    write_questions(files, [TEXT])
    other = FeatureCache(str(files / "cache"), 1).prepare(asked(files), reader_of(files))
    os.replace(path, other.path)
    with pytest.raises(UserError) as caught:
        other.load(with_places=True)
    assert "windows of other questions" in str(caught.value)


def test_a_directory_that_cannot_be_written(files):
    (files / "cache").write_text("a file")
    with pytest.raises(UserError) as caught:
        prepare(files)
    assert "cannot write to --feature_cache_dir '{}'".format(files / "cache") in str(caught.value)


MAKE = """
import sys, time
from tests.examples.test_feature_cache import FeatureCache, asked, reader_of
from pathlib import Path
files = Path(sys.argv[1])
questions, reader = asked(files), reader_of(files)
print("ready", flush=True)
sys.stdin.readline()
stored = FeatureCache(str(files / "cache"), 2).prepare(questions, reader)
print(stored.path, len(stored.load(True)), flush=True)
"""


def start_makers(files, number):
    """Processes that wait for a line before they prepare the windows."""
    makers = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", MAKE, str(files)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=environment_for(), universal_newlines=True)
              for _ in range(number)]
    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    return makers


def go(maker):
    maker.stdin.write("go\n")
    maker.stdin.flush()


def test_of_processes_that_start_together_one_converts(files):
    write_questions(files, [TEXT] * 2000)
    makers = start_makers(files, 3)
    for maker in makers:
        go(maker)
    outputs = [maker.communicate(timeout=300)[0] for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    assert len({output.splitlines()[-1] for output in outputs}) == 1
    assert sum("features of questions.json" in output for output in outputs) == 1
    assert sum(name.endswith(".tfrecord") for name in os.listdir(str(files / "cache"))) == 1
    assert not any(name.endswith(".part") for name in os.listdir(str(files / "cache")))


def test_if_the_converting_process_is_killed_the_next_takes_over(files):
    write_questions(files, [TEXT] * 6000)
    first, second = start_makers(files, 2)
    go(first)
    while not any(name.endswith(".part") for name in list_cache(files)):
        assert first.poll() is None
    go(second)
    assert second.stdout.readline().startswith("waiting for another process")
    first.kill()
    output = second.communicate(timeout=300)[0]
    assert second.returncode == 0
    assert "features of questions.json: 12000/12000" in output
    first.communicate()
    assert first.returncode == -9
    assert not any(name.endswith(".part") for name in list_cache(files))


def list_cache(files):
    return os.listdir(str(files / "cache")) if (files / "cache").exists() else []


def test_records_are_examples_that_others_can_read(files):
    path = prepare(files)
    first = tf.train.Example.FromString(next(tf.python_io.tf_record_iterator(path)))
    assert list(first.features.feature["input_ids"].int64_list.value[:5]) == [2, 4, 5, 6, 3]
