# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Values of Python as bytes that workers send to each other, and back.

    8 bytes    length of the text
    text       JSON: the value, its arrays by their types and shapes
    rest       the bytes of the arrays, one after the other

Numbers, texts, bytes, None, lists, tuples, dictionaries and arrays; what is a NamedTuple arrives as
a tuple. Nothing that arrives is run, as unpickling would: it is plain data, its sizes add up, or it
is an error.
"""

import functools
import json
import operator
import struct
from typing import Any, Callable, Dict, List

import numpy as np
import tensorflow.compat.v1 as tf

_LENGTH = struct.Struct("<Q")
_PLAIN_KINDS = "?biufcSU"
_MOST_EMPTY_TEXTS = 1 << 20


def encode(value: Any) -> bytes:
    """The bytes of `value`.

    Raises:
      TypeError: it holds something else than plain data.
    """
    pieces: List[bytes] = []
    text = json.dumps(_described(value, pieces), separators=(",", ":")).encode("ascii")
    return b"".join([_LENGTH.pack(len(text)), text] + pieces)


def decode(data: bytes) -> Any:
    """The inverse of `encode`.

    Raises:
      ValueError: these are no bytes of `encode`.
    """
    try:
        length, = _LENGTH.unpack_from(data)
        rest = _Rest(data, _LENGTH.size + length)
        value = _value(json.loads(data[_LENGTH.size:_LENGTH.size + length].decode("ascii")), rest)
        rest.check_end()
        return value
    except (struct.error, LookupError, TypeError, RecursionError, OverflowError,
            MemoryError) as error:
        raise ValueError("not a value: {}".format(error)) from None


def _described(value: Any, pieces: List[bytes]) -> Any:
    """`value` as JSON: a list whose first element says what it is; its raw bytes go to `pieces`."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return _described_array(value, pieces)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (bytes, bytearray)):
        pieces.append(bytes(value))
        return ["bytes", len(value)]
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind] + [_described(each, pieces) for each in value]
    if isinstance(value, dict):
        return ["dict"] + [_described(each, pieces) for pair in value.items() for each in pair]
    raise TypeError("values of type {} cannot be sent to other workers".format(
        type(value).__name__))


def _described_array(value: Any, pieces: List[bytes]) -> Any:
    array = np.asarray(value)
    kind = "array" if isinstance(value, np.ndarray) else "scalar"
    if array.dtype == object:
        return ["objects", list(array.shape), [_described(v, pieces) for v in array.ravel()]]
    name = array.dtype.str if array.dtype.kind in _PLAIN_KINDS else tf.as_dtype(array.dtype).name
    pieces.append(array.tobytes())
    return [kind, name, list(array.shape)]


class _Rest:
    """The bytes behind the text, taken piece by piece."""

    def __init__(self, data: bytes, position: int):
        if position > len(data):
            raise ValueError("not a value: its text is cut off")
        self._data = memoryview(data)
        self._position = position

    def take(self, size: int) -> memoryview:
        end = self._position + size
        if size < 0 or end > len(self._data):
            raise ValueError("not a value: {} bytes are missing".format(end - len(self._data)))
        piece = self._data[self._position:end]
        self._position = end
        return piece

    def check_end(self) -> None:
        if self._position != len(self._data):
            raise ValueError("not a value: it is longer than it says")


def _value(described: Any, rest: _Rest) -> Any:
    if not isinstance(described, list):
        if isinstance(described, dict):
            raise ValueError("not a value: an object")
        return described
    kind, parts = described[0], described[1:]
    return _READERS[kind](parts, rest)


def _values(parts: List[Any], rest: _Rest) -> List[Any]:
    return [_value(part, rest) for part in parts]


def _dictionary(parts: List[Any], rest: _Rest) -> Dict[Any, Any]:
    found = _values(parts, rest)
    return dict(zip(found[::2], found[1::2]))


def _array(parts: List[Any], rest: _Rest) -> Any:
    name, shape = parts
    dtype = _dtype(name)
    count = _count(shape)
    raw = rest.take(count * dtype.itemsize)
    if raw:
        return np.frombuffer(raw, dtype, count).reshape(shape).copy()
    if count > _MOST_EMPTY_TEXTS:
        raise ValueError("not a value: {} texts without a letter".format(count))
    return np.zeros(shape, dtype)


def _objects(parts: List[Any], rest: _Rest) -> Any:
    shape, elements = parts
    if _count(shape) != len(elements):
        raise ValueError("not a value: {} elements in an array of shape {}".format(
            len(elements), shape))
    array = np.empty(len(elements), object)
    for number, element in enumerate(elements):
        array[number] = _value(element, rest)
    return array.reshape(shape)


def _dtype(name: Any) -> Any:
    if not isinstance(name, str):
        raise ValueError("not a value: an array of no type")
    if name[:1] in "<>|=":
        dtype = np.dtype(name)
        if dtype.kind not in _PLAIN_KINDS:
            raise ValueError("not a value: an array of type {}".format(name))
        return dtype
    return np.dtype(tf.as_dtype(name).as_numpy_dtype)


def _count(shape: Any) -> int:
    """How many elements an array of `shape` has."""
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("not a value: an array of no shape")
    return functools.reduce(operator.mul, shape, 1)  # Python's numbers do not wrap around


_Reader = Callable[[List[Any], _Rest], Any]
_READERS: Dict[Any, _Reader] = {
    "list": _values,
    "tuple": lambda parts, rest: tuple(_values(parts, rest)),
    "dict": _dictionary,
    "bytes": lambda parts, rest: bytes(rest.take(parts[0])),
    "array": _array,
    "scalar": lambda parts, rest: _array(parts, rest)[()],
    "objects": _objects,
}
