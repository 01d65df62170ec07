# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare the scores of this example with those of the official scripts, to the last digit.

    python examples/bert/checks/compare_scores.py --version 1.1 OFFICIAL.py dev-v1.1.json
    python examples/bert/checks/compare_scores.py --version 2.0 OFFICIAL.py dev-v1.1.json

OFFICIAL.py is the script of that version from https://rajpurkar.github.io/SQuAD-explorer/. Both
scripts get the same data and the same made-up predictions: right, cut, doubled, empty, in other
spelling, and, in version 1.1, none at all. For version 2.0, which has no rule for that, a third of
the questions lose their answers. Exit code 0 means that both printed the same in every round.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Optional

_HERE = os.path.dirname(os.path.abspath(__file__))
_ADDED = ["", " ", "the ", "\u00a0", ".", "\u201c", "\u0301", " \u00e9t\u00e9", " \u4e2d\u6587",
          " an", "\u0130"]


def entries_of(data: Any) -> List[Any]:
    """All questions, in order."""
    return [entry for article in data["data"] for paragraph in article["paragraphs"]
            for entry in paragraph["qas"]]


def changed(source: random.Random, data: Any, version: str) -> None:
    """Make some questions of `data` unanswerable, strange, or equal in their ids, in place."""
    entries = entries_of(data)
    for entry in entries:
        chance = source.random()
        if version == "2.0" and chance < 0.33:
            entry["answers"] = []
        elif chance < 0.36:
            entry["answers"][0]["text"] = source.choice(["The", "...", "\u00c9t\u00e9"])
    for _ in range(len(entries) // 50):
        source.choice(entries)["id"] = source.choice(entries)["id"]


def predicted(source: random.Random, entries: List[Any], version: str) -> Dict[str, str]:
    """A prediction for most questions."""
    predictions = {}
    for entry in entries:
        words = source.choice(entry["answers"])["text"].split() if entry["answers"] else ["x"]
        text = source.choice([
            " ".join(words), " ".join(words[1:]), " ".join(words * 2), " ".join(words).upper(), "",
            " ".join(source.sample(words, len(words)))])
        if version == "2.0" or source.random() > 0.05:
            predictions[entry["id"]] = source.choice(_ADDED) + text + source.choice(_ADDED)
    return predictions


def output_of(script: str, files: List[str], more: List[str]) -> Any:
    """What a script prints, with every digit."""
    done = subprocess.run([sys.executable, script] + files + more, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode:
        sys.exit("error: {} ended with code {}:\n{}".format(script, done.returncode, done.stderr))
    return json.loads(done.stdout, parse_float=str)


def same_in_round(number: int, arguments: argparse.Namespace) -> bool:
    """One round with its own predictions; whether both scripts printed the same."""
    source = random.Random(number)
    with open(arguments.dataset_file, encoding="utf-8") as file:
        data = json.load(file)
    changed(source, data, arguments.version)
    predictions = predicted(source, entries_of(data), arguments.version)
    doubts: Optional[Dict[str, float]] = None
    if arguments.version == "2.0" and number % 3:
        doubts = {identity: round(source.uniform(-9, 9), source.choice([0, 6]))
                  for identity in predictions}
    with tempfile.TemporaryDirectory() as directory:
        files = [os.path.join(directory, name) for name in ("data", "predictions", "doubts")]
        for path, content in zip(files, (data, predictions, doubts)):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(content, file)
        more = ["--na-prob-file", files[2], "--na-prob-thresh", str(source.choice([1.0, -2.5]))]
        ours = os.path.join(_HERE, "..", "evaluate-v{}.py".format(arguments.version))
        outputs = [output_of(script, files[:2], more if doubts else [])
                   for script in (arguments.official, ours)]
    print("round {}: {} {}".format(number, "same" if outputs[0] == outputs[1] else "DIFFERENT",
                                   outputs[1]), flush=True)
    if outputs[0] != outputs[1]:
        print("  official: {}".format(outputs[0]))
    return outputs[0] == outputs[1]


def main() -> None:
    """Compare as the command line says; ends the program with 1 if scores differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", choices=["1.1", "2.0"], required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("official", help="the official script")
    parser.add_argument("dataset_file", help="questions and right answers, SQuAD 1.1 format")
    arguments = parser.parse_args()
    if not all([same_in_round(number, arguments) for number in range(arguments.rounds)]):
        sys.exit(1)


if __name__ == "__main__":
    main()
