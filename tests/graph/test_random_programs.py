# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Random programs give with EPL what they give in plain TensorFlow, or are refused for a reason.

Here a few are drawn, always the same, as many as there is time for. Many, about two seconds each:

    export EPL_RANDOM_PROGRAMS=2000 EPL_RANDOM_SEED=7
    scripts/test.sh tf1 tests/graph/test_random_programs.py

How one that fails is run alone and made smaller is said in `tests.programs`.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.programs import drawing, refusals, shrinking
from tests.support import jobs

_SEED = int(os.environ.get("EPL_RANDOM_SEED", "1"))
_COUNT = int(os.environ.get("EPL_RANDOM_PROGRAMS", "20"))
_SECONDS = 1e9 if "EPL_RANDOM_PROGRAMS" in os.environ else 45  # to begin programs in
_CHUNK = 20  # programs that one process runs; TensorFlow does not give back all memory
_TIMEOUT_S = 500  # far above what a chunk takes on a busy machine


@pytest.mark.parametrize("first", range(_SEED, _SEED + _COUNT, _CHUNK))
def test_random_programs_equal_plain_tensorflow(first, tmp_path):
    count = min(_CHUNK, _SEED + _COUNT - first)
    outcomes, output = _run(tmp_path / "outcomes", "--seed", first, "--count", count,
                            "--seconds", _SECONDS)
    failed = [o for o in outcomes if o["kind"] in ("different", "crashed")]
    assert not failed, "\n".join("{}\n{}\npython -m tests.programs --seed {} --shrink".format(
        o["kind"], o["detail"][:2000], o["program"]["seed"]) for o in failed)
    assert "{} programs in".format(len(outcomes)) in output, output[-3000:]
    assert len(outcomes) == count or _SECONDS < 1e9
    # Refusals and what plain TensorFlow cannot do must not be all that there is.
    assert sum(o["kind"] == "equal" for o in outcomes) > len(outcomes) // 2


def _run(path, *arguments):
    """The outcomes of programs, and what their process printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs", "--outcomes", str(path)] + [
            str(a) for a in arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_TIMEOUT_S, cwd=jobs.ROOT,
        env=jobs.environment_for())
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines], done.stdout.decode("utf-8", "replace")


def test_a_program_is_pure_data_that_its_seed_decides():
    programs = [drawing.draw(seed) for seed in range(50)]
    assert programs == [drawing.draw(seed) for seed in range(50)]
    assert programs == json.loads(json.dumps(programs))
    assert len({json.dumps(program) for program in programs}) == 50


def test_words_that_are_left_out_are_not_drawn():
    def drawn(*without):
        return {word for seed in range(200) for word in refusals.words(drawing.draw(seed, without))}

    every, few = drawn(), drawn("update_ops", "shorter", "wired")
    assert every - few == {"update_ops", "shorter", "wired"}
    workers = [drawing.draw(seed)["layout"]["workers"] for seed in range(200)]
    assert 20 < workers.count(2) < 100
    assert {drawing.draw(seed, ["two_workers"])["layout"]["workers"] for seed in range(50)} == {1}


def test_a_failing_program_is_made_as_small_as_it_fails():
    program = drawing.draw(3)
    program["blocks"] = [dict(drawing.draw(seed)["blocks"][0], name="b") for seed in range(4)]
    program["blocks"].append({"kind": "while", "name": "c", "back": 2, "times": "2",
                              "array": True, "body": {"kind": "tanh"}})
    small = shrinking.shrink(program, lambda p: "array" in refusals.words(p))
    assert small["blocks"] == [{"kind": "while", "name": "c", "back": 0, "times": "1",
                                "array": True, "body": {"kind": "identity"}}]
    assert small["layout"]["micro_batches"] == 1 and not small["fetches"] and not small["writes"]


def test_an_unknown_error_and_one_that_does_not_fit_are_no_refusals():
    program = drawing.draw(1)
    known = refusals.REVIEWED[0]
    program["writes"] = []
    assert refusals.reviewed(program, ValueError(known.message)) is None
    program["writes"] = [{"kind": "count", "name": "w", "of": "last", "when": "update_ops"}]
    assert refusals.reviewed(program, ValueError(known.message)) == known.message
    assert refusals.reviewed(program, ValueError("index out of range")) is None
