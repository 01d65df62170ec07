# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of tensors in the format "safetensors", as numpy arrays.

    8 bytes    the length of the header, little-endian
    header     JSON: {NAME: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    data       the tensors' bytes, little-endian and row by row, one after the other without gaps;
               offsets count from here

The header may have a "__metadata__", a map from strings to strings.
https://huggingface.co/docs/safetensors describes the format.
"""

import json
import os
import struct
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from examples.bert.errors import UserError, shown

_METADATA = "__metadata__"
_LONGEST_HEADER = 100 * 1000 * 1000  # The format's limit.
_LARGEST = 2 ** 63 - 1
_MOST_AXES = 32  # of numpy
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
          "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
_FLOATS = ("F64", "F32", "F16", "BF16")


class _Tensor(NamedTuple):
    dtype: str
    shape: List[int]
    start: int
    end: int


class SafetensorsFile:
    """A file that is read tensor by tensor.

    Attributes:
      shapes: the name and shape of every tensor in it.
      types: their types in the format's own words, e.g. "F32" or "BF16".
    """

    def __init__(self, path: str):
        """Read the header.

        Raises:
          UserError: the file cannot be read, or is not a whole one of this format.
        """
        self._path = path
        try:
            with open(path, "rb") as file:
                self._data, header = _read_header(file)
            self._tensors = _tensors(header, os.path.getsize(path) - self._data)
        except OSError as error:
            raise UserError("cannot read '{}': {}".format(path, error.strerror)) from None
        except _Malformed as error:
            raise UserError("'{}' is not a whole file in safetensors format: {}".format(
                path, error)) from None
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}
        self.types = {name: tensor.dtype for name, tensor in self._tensors.items()}

    def float32(self, name: str) -> Any:
        """The tensor `name` as float32, to the bit unless the file has it in float64.

        Raises:
          UserError: it does not hold floating point numbers.
        """
        tensor = self._tensors[name]
        if tensor.dtype not in _FLOATS:
            raise UserError("'{}': '{}' holds {}, but weights are one of {}".format(
                self._path, name, tensor.dtype, ", ".join(_FLOATS)))
        values = np.fromfile(self._path, _TYPES[tensor.dtype], _count(tensor.shape),
                             offset=self._data + tensor.start).reshape(tensor.shape)
        if tensor.dtype == "BF16":  # The upper half of a float32.
            return (values.astype("<u4") << 16).view("<f4")
        return values.astype(np.float32)


def write_safetensors(path: str, tensors: Dict[str, Any]) -> None:
    """Write float32 arrays under their names."""
    header: Dict[str, Any] = {_METADATA: {"format": "pt"}}  # Readers of weights ask for it.
    position = 0
    for name in sorted(tensors):
        size = 4 * tensors[name].size
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape),
                        "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)  # So that the tensors are aligned.
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(tensors[name].astype("<f4").tobytes())


class _Malformed(Exception):
    """What is wrong with a file."""


def _read_header(file: Any) -> Any:
    """(where the data begins, the header)."""
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= _LONGEST_HEADER:
        raise _Malformed("it begins with no header's length")
    text = file.read(length)
    if len(text) < length:
        raise _Malformed("its header ends after {} of {} bytes".format(len(text), length))
    try:
        return 8 + length, json.loads(text.decode("utf-8"), object_pairs_hook=_unambiguous)
    except ValueError as error:
        raise _Malformed("its header is not JSON: {}".format(error)) from None
    except RecursionError:
        raise _Malformed("its header is nested too deeply") from None


def _unambiguous(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object of JSON in which every name is there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Malformed("its header has {} twice".format(
            next(shown(name) for name in names if names.count(name) > 1)))
    return found


def _tensors(header: Any, size: int) -> Dict[str, _Tensor]:
    """What the header says about the tensors, which must fill the `size` bytes of data."""
    if not isinstance(header, dict):
        raise _Malformed("its header is not a JSON object")
    metadata = header.get(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _Malformed("its metadata is no map from texts to texts: {}".format(shown(metadata)))
    tensors = {name: _tensor(name, entry) for name, entry in header.items() if name != _METADATA}
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            raise _Malformed("{} begins at byte {} of the data instead of {}".format(
                shown(name), tensor.start, position))
        position = tensor.end
    if position != size:
        raise _Malformed("its tensors take {} bytes, and there are {}".format(position, size))
    return tensors


def _tensor(name: str, entry: Any) -> _Tensor:
    try:
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        tensor = _Tensor(entry["dtype"], shape, start, end)
        width = np.dtype(_TYPES[tensor.dtype]).itemsize
        whole = isinstance(shape, list) and all(
            type(number) is int and 0 <= number <= _LARGEST for number in shape + [start, end])
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Malformed("its header says about {}: {}".format(shown(name), shown(entry)))
    if len(shape) > _MOST_AXES or end - start != width * _count(shape):
        raise _Malformed("{} of shape {} in {} has {} bytes".format(
            shown(name), shown(shape), tensor.dtype, end - start))
    return tensor


def _count(shape: List[int]) -> int:
    number = 1
    for size in shape:
        number *= size
    return number
