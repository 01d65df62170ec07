# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Make the sample: questions about people who never lived, in SQuAD 1.1 format.

    python make_sample.py [directory]

A paragraph says things about one person, in random order; for every question it holds two or three
names or years of the kind that is asked for (always three in the held-out part). No name or year of
the held-out part occurs in the training part, though all their word pieces do: an answer has to be
found by reading. The files are the same, byte for byte, in every run and version of Python.
"""

import json
import os
import random
import re
import sys
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..")))

from examples.bert.sample.facts import CENTURIES, ENDINGS, FACTS, KINDS, PRONOUNS, STARTS, Fact

SEED = 20
PARAGRAPHS = {"train": 3400, "dev": 120}
# How many facts of the kind that is asked for, and of another kind, a paragraph may hold.
SHAPES = {"train": ((2, 0), (2, 1), (3, 0), (3, 1)), "dev": ((3, 1),)}
HELD_OUT = 0.2
# The people that paragraphs are about. Few, so that a name does not give a paragraph away.
SUBJECTS = 30
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONFIG = {
    "attention_probs_dropout_prob": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 64,
    "initializer_range": 0.18,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
}

Pool = Dict[str, List[str]]


class Sentence(NamedTuple):
    """What a sentence says: a fact, its answer, and whether a question asks for it."""

    fact: Fact
    answer: str
    asked: bool


class Chooser:
    """Random choices that are the same in every version of Python."""

    def __init__(self, seed: int):
        self._random = random.Random(seed).random

    def one(self, items: Sequence[Any]) -> Any:
        """One of `items`."""
        return items[int(self._random() * len(items))]

    def some(self, items: Sequence[Any], count: int) -> List[Any]:
        """`count` different places of `items`, in random order."""
        left = list(items)
        return [left.pop(int(self._random() * len(left))) for _ in range(count)]


def names(chooser: Chooser) -> Tuple[Pool, Pool]:
    """The names and years, by kind, of the training part and of the held-out part."""
    train: Pool = {}
    held_out: Pool = {}
    for kind in KINDS:
        if kind == "year":
            every = ["{}{:02d}".format(c, year) for c in CENTURIES for year in range(100)]
        else:
            every = [(start + end).capitalize() for start in STARTS for end in ENDINGS[kind]]
        mixed = chooser.some(every, len(every))
        border = int(len(mixed) * HELD_OUT)
        held_out[kind], train[kind] = mixed[:border], mixed[border:]
    return train, held_out


def paragraph(chooser: Chooser, pool: Pool, shapes: Sequence[Tuple[int, int]],
              identity: str) -> Dict[str, Any]:
    """A paragraph with its questions, as SQuAD has them."""
    subject = chooser.one(pool["person"][:SUBJECTS])
    asked, aside = chooser.one(shapes)
    kinds = chooser.some(KINDS, 2)
    sentences = [Sentence(fact, answer, kind == kinds[0])
                 for kind, count in zip(kinds, (asked, aside))
                 for fact, answer in _facts(chooser, pool, kind, count, subject)]
    text = ""
    questions: List[Dict[str, Any]] = []
    name, pronoun = subject, chooser.one(PRONOUNS)
    for sentence in chooser.some(sentences, len(sentences)):
        before, after = chooser.one(sentence.fact.statements).replace("{s}", name).split("{x}")
        text += " " + before if text else before
        if sentence.asked:
            questions.append({
                "id": "{}-{}".format(identity, len(questions)),
                "question": chooser.one(sentence.fact.questions).replace("{s}", subject),
                "answers": [{"text": sentence.answer, "answer_start": len(text)}]})
        text += sentence.answer + after
        name = pronoun
    return {"context": text, "qas": questions}


def _facts(chooser: Chooser, pool: Pool, kind: str, count: int,
           subject: str) -> List[Tuple[Fact, str]]:
    """`count` facts of a kind with their answers, none of them the subject."""
    facts = chooser.some([fact for fact in FACTS if fact.kind == kind], count)
    return list(zip(facts, chooser.some([x for x in pool[kind] if x != subject], count)))


def data_set(chooser: Chooser, pool: Pool, part: str) -> Dict[str, Any]:
    """A whole file in SQuAD 1.1 format."""
    return {"version": "1.1", "data": [{"title": part, "paragraphs": [
        paragraph(chooser, pool, SHAPES[part], "{}{}".format(part[0], number))
        for number in range(PARAGRAPHS[part])]}]}


def vocabulary() -> List[str]:
    """Special pieces, then the words of all sentences, then the pieces of names and years."""
    texts = [text for fact in FACTS for text in fact.statements + fact.questions]
    words = set(re.findall(r"\w+|[^\w\s]", " ".join(texts + list(PRONOUNS)).lower()))
    pieces = set(STARTS) | set(CENTURIES) | {"##{:02d}".format(year) for year in range(100)}
    pieces.update("##" + ending for endings in ENDINGS.values() for ending in endings)
    return list(SPECIAL) + sorted(words - set("sx{}")) + sorted(pieces - words)


def write(directory: str, name: str, text: str) -> None:
    """Write one file of the sample."""
    with open(os.path.join(directory, name), "w", encoding="ascii", newline="\n") as file:
        file.write(text + "\n")


def main(directory: str) -> None:
    """Write the sample's files to `directory`."""
    chooser = Chooser(SEED)
    for part, pool in zip(("train", "dev"), names(chooser)):
        write(directory, part + ".json",
              json.dumps(data_set(chooser, pool, part), separators=(",", ":")))
    pieces = vocabulary()
    write(directory, "vocab.txt", "\n".join(pieces))
    write(directory, "bert_config.json",
          json.dumps(dict(CONFIG, vocab_size=len(pieces)), indent=2, sort_keys=True))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
