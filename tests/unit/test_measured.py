# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The file of measured times: what is written is read again, what is no such file is refused."""

import json

import pytest

from epl.errors import ConfigError
from epl.plan.measured import Measured, load

MEASURED = Measured("cpu", "1.15.5", 1234.5, None, {"dense/MatMul": 812.25, "loss": 0.0})


def test_what_is_written_is_read_again(tmp_path):
    path = str(tmp_path / "costs.json")
    for each in (MEASURED, MEASURED._replace(device="gpu", bytes_per_second=2.5e10)):
        each.save(path)
        assert load(path) == each


@pytest.mark.parametrize("change, words", [
    ({"format": 2}, 'reads files with "format": 1'),
    ({"device": "tpu"}, "device = 'tpu' is neither 'cpu' nor 'gpu'"),
    ({"operations_us": {}}, "operations_us names no operation"),
    ({"operations_us": [1]}, "operations_us names no operation"),
    ({"operations_us": {"a/b": -1}}, "a/b = -1 is no number of 0 to 1e+15"),
    ({"operations_us": {"a/b": "1"}}, "a/b = '1' is no number"),
    ({"operations_us": {"a/b": True}}, "a/b = True is no number"),
    ({"operations_us": {"a/b": float("nan")}}, "a/b = nan is no number"),
    ({"step_us": None}, "step_us = None is no number"),
    ({"step_us": 1e16}, "step_us = 1e+16 is no number of 0 to 1e+15"),
    ({"operations_us": {"a/b": 10 ** 400}}, "is no number of 0 to 1e+15"),
    ({"bytes_per_second": 0}, "bytes_per_second = 0: write null"),
    ({"bytes_per_second": 1e-310}, "bytes_per_second = 1e-310: write null"),
])
def test_what_cannot_be_is_refused(tmp_path, change, words):
    path = tmp_path / "costs.json"
    MEASURED.save(str(path))
    path.write_text(json.dumps(dict(json.loads(path.read_text()), **change)))
    with pytest.raises(ConfigError, match="CostsHook write it again") as refused:
        load(str(path))
    assert words in str(refused.value)


def test_a_file_that_lacks_something_is_refused(tmp_path):
    path = tmp_path / "costs.json"
    path.write_text('{"format": 1, "device": "cpu", "step_us": 1}')
    with pytest.raises(ConfigError, match="tensorflow and bytes_per_second and operations_us is"):
        load(str(path))
    for text in ("", "[1]", "{"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="CostsHook"):
            load(str(path))
    with pytest.raises(ConfigError, match="CostsHook writes such a file"):
        load(str(tmp_path / "none.json"))
