# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The small scripts: two workers print what one does; README shows what the pipeline prints."""

import os
import re

import pytest

from tests.support.jobs import ROOT, launch

SMALL = os.path.join(ROOT, "examples", "small")


def printed(directory, name, **options):
    result = launch(os.path.join(SMALL, name), directory, warm=True, **options).check()
    lines = [line for line in result.of_worker(0).splitlines()
             if re.match(r"step \d+  loss |kernel ", line)]
    assert lines, result.output
    return lines


@pytest.mark.parametrize("name", ["mlp.py", "estimator.py", "keras_graph.py", "two_losses.py"])
def test_two_workers_print_what_one_does(tmp_path, name):
    one, two = [[float(number) for line in printed(tmp_path / str(workers), name, workers=workers)
                 for number in re.findall(r"\d+\.\d+", line)] for workers in (1, 2)]
    # The last digit printed may be rounded the other way.
    assert two == pytest.approx(one, rel=1e-3, abs=1.1e-3)


def test_the_readme_shows_the_pipeline_and_what_it_prints(tmp_path):
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        text = file.read()
    with open(os.path.join(SMALL, "pipeline.py"), encoding="utf-8") as file:
        script = file.read().split('"""\n\n', 1)[1]
    assert "```python\n" + script + "```" in text
    shown = re.findall(r"^    \[worker 0\] (step .*)$", text, re.MULTILINE)
    assert len(shown) == 3
    assert printed(tmp_path, "pipeline.py", workers=1, devices=2) == shown


def test_every_small_script_is_run():
    names = {name for name in os.listdir(SMALL) if name.endswith(".py")} - {"__init__.py"}
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    assert len(names) == 5 and all('"{}"'.format(name) in text for name in names)
