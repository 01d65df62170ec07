# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The worked examples of CONTRIBUTING.md: the change is made in a copy, the proof runs there."""

import os
import re
import shutil

import pytest

from tests.support import warm
from tests.support.jobs import HANG_S, ROOT, environment_for

TITLES = ("a schedule", "a pass", "a communicator", "a configuration key")


def example(title):
    """(change, proof) of the section `### Add <title>`."""
    with open(os.path.join(ROOT, "CONTRIBUTING.md"), encoding="utf-8") as file:
        section = file.read().split("### Add {}\n".format(title))[1].split("\n## ")[0]
    section = section.split("\n### ")[0]
    found = [re.findall("^```" + language + r"\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
             for language in ("diff", "python")]
    (change,), (proof,) = found
    return change, proof


def make_change(change, directory):
    """Apply hunks that are found by their own lines; they must occur once."""
    for file in re.split(r"^--- .*\n", change, flags=re.MULTILINE)[1:]:
        head, *hunks = re.split(r"^@@\n", file, flags=re.MULTILINE)
        path = directory / re.match(r"\+\+\+ b/(.*)\n", head).group(1)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for hunk in hunks:
            lines = hunk.splitlines(True)
            old, new = ["".join(line[1:] for line in lines if line[0] in signs)
                        for signs in (" -", " +")]
            if old:
                assert text.count(old) == 1, "{} has {} times:\n{}".format(
                    path.name, text.count(old), old)
            text = text.replace(old, new) if old else new
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("title", TITLES)
def test_the_change_does_what_the_proof_asks(tmp_path, monkeypatch, title):
    change, proof = example(title)
    for name in ("epl", "docs"):
        shutil.copytree(os.path.join(ROOT, name), str(tmp_path / name),
                        ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    monkeypatch.chdir(tmp_path)
    environment = environment_for({"PYTHONPATH": str(tmp_path)})
    assert warm.run(["-c", proof], environment, HANG_S).returncode != 0, \
        "the proof holds without the change"
    make_change(change, tmp_path)
    done = warm.run(["-c", proof], environment, HANG_S)
    assert done.returncode == 0, done.stdout.decode()
    assert done.stdout


def test_a_hunk_that_is_not_found_is_an_error(tmp_path):
    (tmp_path / "file").write_text("one\ntwo\n")
    with pytest.raises(AssertionError, match="0 times"):
        make_change("--- a/file\n+++ b/file\n@@\n three\n+four\n", tmp_path)
    make_change("--- a/file\n+++ b/file\n@@\n one\n-two\n+three\n", tmp_path)
    assert (tmp_path / "file").read_text() == "one\nthree\n"
