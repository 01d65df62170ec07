# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The sample is reproducible, and can only be answered by reading its paragraphs."""

import collections
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

from examples.bert.sample import facts, make_sample
from examples.bert.tokenization import UNKNOWN, Tokenizer, Vocabulary
from tests.support.jobs import ROOT

BERT = os.path.join(ROOT, "examples", "bert")
SAMPLE = os.path.join(BERT, "sample")
FILES = ("train.json", "dev.json", "vocab.txt", "bert_config.json")
ANY_NAME = re.compile(r"\b[A-Z][a-z]+(?:{})\b|\b\d{{4}}\b".format(
    "|".join(ending for endings in facts.ENDINGS.values() for ending in endings)))


def load_scorer():
    path = os.path.join(BERT, "evaluate-v1.1.py")
    spec = importlib.util.spec_from_file_location("evaluate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paragraphs(part):
    with open(os.path.join(SAMPLE, part + ".json")) as file:
        return json.load(file)["data"][0]["paragraphs"]


def questions(part):
    return [(p["context"], q) for p in paragraphs(part) for q in p["qas"]]


def mentioned(part):
    """All names and years anywhere in a part."""
    text = " ".join(p["context"] + " ".join(q["question"] for q in p["qas"])
                    for p in paragraphs(part))
    return set(ANY_NAME.findall(text))


def kind_of(answer):
    if answer.isdigit():
        return "year"
    return next(kind for kind, endings in facts.ENDINGS.items() if answer.endswith(endings))


def candidates(context, question):
    """What in the paragraph is of the kind of the answer, except the person asked about."""
    wanted = kind_of(question["answers"][0]["text"])
    return [name for name in ANY_NAME.findall(context)
            if kind_of(name) == wanted and name not in question["question"]]


def test_the_generator_writes_these_files(tmp_path):
    subprocess.check_call([sys.executable, os.path.join(SAMPLE, "make_sample.py"), str(tmp_path)])
    for name in FILES:
        with open(os.path.join(SAMPLE, name), "rb") as file:
            assert file.read() == (tmp_path / name).read_bytes(), name


def test_the_files_are_small():
    assert sum(os.path.getsize(os.path.join(SAMPLE, name)) for name in FILES) < 1500000


def test_no_held_out_name_or_year_occurs_in_the_training_part():
    train, held_out = mentioned("train"), mentioned("dev")
    assert len(train) > 300 and len(held_out) > 100
    assert not train & held_out
    answers = {q["answers"][0]["text"] for _, q in questions("dev")}
    assert answers <= held_out


def test_every_word_piece_of_the_held_out_part_occurs_in_the_training_part():
    tokenizer = Tokenizer(Vocabulary(os.path.join(SAMPLE, "vocab.txt")))
    pieces = {}
    for part in ("train", "dev"):
        pieces[part] = {t.piece for context, q in questions(part)
                        for t in tokenizer.tokenize(context + " " + q["question"])}
    assert pieces["dev"] <= pieces["train"]
    assert UNKNOWN not in pieces["train"]


def test_a_random_choice_of_the_right_kind_scores_below_40():
    """The expected F1 of a guesser that knows all names and years, and which kind is asked for."""
    scorer = load_scorer()
    total = 0.0
    for context, question in questions("dev"):
        found = candidates(context, question)
        truth = question["answers"][0]["text"]
        assert truth in found and len(set(found)) == len(found) >= 3
        total += sum(scorer.f1(name, truth) for name in found) / len(found)
    assert 100.0 * total / len(questions("dev")) < 40.0


@pytest.mark.parametrize("part", ["train", "dev"])
def test_the_place_of_a_candidate_does_not_give_the_answer_away(part):
    """Always taking the first (second, last) candidate is no better than chance."""
    places = collections.Counter()
    total = 0
    for context, question in questions(part):
        found = candidates(context, question)
        if len(found) == 3:
            total += 1
            places[found.index(question["answers"][0]["text"])] += 1
    # Three standard deviations of a fair choice among three are 0.075 for 360 questions.
    assert all(abs(places[place] / total - 1 / 3) < 0.075 for place in range(3))


def test_all_kinds_and_phrasings_are_asked_for():
    for part in ("train", "dev"):
        asked = collections.Counter(kind_of(q["answers"][0]["text"]) for _, q in questions(part))
        assert sorted(asked) == sorted(facts.KINDS)
        assert min(asked.values()) > 0.15 * sum(asked.values())
    patterns = {ANY_NAME.sub("{s}", q["question"]) for _, q in questions("train")}
    assert patterns == {text for fact in facts.FACTS for text in fact.questions}


def test_choices_do_not_depend_on_the_version_of_python():
    chooser = make_sample.Chooser(1)
    assert chooser.some("abcdef", 6) == list("afebcd")
    assert [chooser.one("abcdef") for _ in range(3)] == list("dea")
