# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tensors come out of a file as they went in, and a file that is not whole is refused."""

import json
import struct

import numpy as np
import pytest

from examples.bert.errors import UserError
from examples.bert.safetensors_file import SafetensorsFile, write_safetensors


def content(header, data=b""):
    """A file's bytes, as the format is documented."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8")
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def write(directory, data):
    path = directory / "model.safetensors"
    path.write_bytes(data)
    return str(path)


def test_tensors_come_back_to_the_bit(tmp_path):
    random = np.random.RandomState(1)
    tensors = {"b": random.normal(size=[3, 4]).astype(np.float32).T,  # Not in C order.
               "a.weight": np.array([np.inf, -0.0, 1e-42], np.float32),
               "scalar": np.array(2.5, np.float32), "none": np.zeros([0, 3], np.float32)}
    path = str(tmp_path / "model.safetensors")
    write_safetensors(path, tensors)
    file = SafetensorsFile(path)
    assert file.shapes == {"a.weight": [3], "b": [4, 3], "scalar": [], "none": [0, 3]}
    for name, value in tensors.items():
        assert file.float32(name).tobytes() == value.tobytes()


def test_a_written_file_is_laid_out_as_documented(tmp_path):
    path = tmp_path / "model.safetensors"
    for name in ("bcdefghij"[:length] for length in range(1, 9)):
        write_safetensors(str(path), {name: np.array([[1, 2]], np.float32), "a": np.float32([3])})
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        assert length % 8 == 0
        assert json.loads(data[8:8 + length].decode()) == {
            "__metadata__": {"format": "pt"}, "a": entry(shape=[1], offsets=[0, 4]),
            name: entry(shape=[1, 2], offsets=[4, 12])}
        assert data[8 + length:] == struct.pack("<3f", 3, 1, 2)


@pytest.mark.parametrize("dtype, data", [
    ("F64", struct.pack("<2d", 1.5, -2)), ("F32", struct.pack("<2f", 1.5, -2)),
    ("F16", struct.pack("<2e", 1.5, -2)), ("BF16", b"\xc0\x3f\x00\xc0")])
def test_floating_point_types(tmp_path, dtype, data):
    file = SafetensorsFile(write(tmp_path, content({"w": entry(dtype, [2], [0, len(data)])}, data)))
    assert file.types == {"w": dtype}
    value = file.float32("w")
    assert value.dtype == np.float32 and value.tolist() == [1.5, -2.0]


def test_whole_numbers_are_no_weights(tmp_path):
    file = SafetensorsFile(write(tmp_path, content({"w": entry("I32")}, bytes(8))))
    with pytest.raises(UserError, match="'w' holds I32, but weights are one of F64, F32"):
        file.float32("w")


@pytest.mark.parametrize("data, message", [
    (b"", "begins with no header's length"),
    (b"\xff" * 100, "begins with no header's length"),
    (content({"w": entry()})[:20], "its header ends after 12 of "),
    (content(b"{'w'"), "its header is not JSON: "),
    (content(b"[1]"), "its header is not a JSON object"),
    (content({"w": {"dtype": "F32"}}, bytes(8)), "its header says about 'w': {'dtype': 'F32'}"),
    (content({"w": entry("F31")}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[3])}, bytes(8)), "'w' of shape [3] in F32 has 8 bytes"),
    (content({"w": entry()}, bytes(7)), "its tensors take 8 bytes, and there are 7"),
    (content({"w": entry()}, bytes(9)), "its tensors take 8 bytes, and there are 9"),
    (content({"w": entry(), "x": entry()}, bytes(16)), "'x' begins at byte 0 of the data"),
    (content({"w": entry(offsets=[8, 16])}, bytes(16)), "'w' begins at byte 8 of the data"),
    (content({"w": entry(shape=["2"])}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[2.0])}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[True, 2])}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[-1, -2])}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[float("inf")])}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[0, 2 ** 63], offsets=[0, 0])}), "its header says about 'w': "),
    (content({"w": entry(offsets=[0.0, 8.0])}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(offsets=[0, 8, 8])}, bytes(8)), "its header says about 'w': "),
    (content({"w": dict(entry(), more=1)}, bytes(8)), "its header says about 'w': "),
    (content({"w": entry(shape=[1] * 40 + [2])}, bytes(8)), "'w' of shape "),
    (content(b'{"w": 1, "w": 2}'), "its header has 'w' twice"),
    (content(b'{"w": {"a": 1, "a": 2}}'), "its header has 'a' twice"),
    (content({"__metadata__": 5}), "its metadata is no map from texts to texts: 5"),
    (content({"__metadata__": {"a": 1}}), "its metadata is no map from texts to texts: "),
    (content(b'{"w": ' + b"[" * 50000), "its header is nested too deeply"),
    (content({"x" * 5000: {}}), "xxx...: {}"),
], ids=range(28))
def test_a_file_that_is_not_whole(tmp_path, data, message):
    path = write(tmp_path, data)
    with pytest.raises(UserError) as caught:
        SafetensorsFile(path)
    assert str(caught.value).startswith(
        "'{}' is not a whole file in safetensors format: ".format(path))
    assert message in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="cannot read .*: No such file"):
        SafetensorsFile(str(tmp_path / "model.safetensors"))
