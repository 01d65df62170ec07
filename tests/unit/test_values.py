# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers send each other: plain data, as it was; anything else is an error, never run."""

import os
import random
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.communicators import values
from epl.runtime.intents import Intent
from epl.runtime.shared_feeds import Shown
from epl.typed import made
from tests.support.jobs import ROOT

BFLOAT16 = tf.bfloat16.as_numpy_dtype

VALUES = [
    None, True, False, 0, -1, 2 ** 70, 0.1, float("inf"), -0.0, "", "text \u00e9 \udc80 \0", b"",
    b"\0\xff", [], (), {}, [1, [2, (3, [])]], {"a": 1, 2: "b", ("fetch", "x"): [None]},
    np.float32(0.1), np.int64(-3), np.bool_(True), np.zeros([0, 3]), np.zeros([]),
    np.arange(12, dtype=np.int16).reshape(3, 4).T, np.array([1 + 2j, -1], np.complex64),
    np.array(["a", "bcd"]), np.array([b"a", b"bcd"]), np.array(["", ""]), np.array(b"x"),
    np.array([b"a\0", "b", None, 3, [1]], object), np.array([1.5, -2.0], BFLOAT16),
    np.float64("nan"), np.array([[True], [False]]), np.array([1, 2], ">i4"),
]


def same(one, other):
    if isinstance(one, (np.ndarray, np.generic)):
        assert type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape
        if one.dtype == object:
            assert one.ravel().tolist() == other.ravel().tolist()
        else:
            assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert type(one) is type(other) and len(one) == len(other)
        for pair in zip(one, other):
            same(*pair)
    else:
        assert type(one) is type(other) and repr(one) == repr(other)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values_arrive_as_they_were(value):
    same(value, values.decode(values.encode(value)))


def test_all_of_them_together():
    same(VALUES, values.decode(values.encode(VALUES)))


def test_what_arrives_can_be_changed():
    found = values.decode(values.encode(np.zeros([2, 2])))
    found[0, 0] = 1.0  # as after unpickling


def test_a_named_tuple_is_made_again_from_its_values():
    intent = Intent("run a step", False, True, [Shown("x:0", "12", "7")])
    assert made(Intent, values.decode(values.encode(intent))) == intent


@pytest.mark.parametrize("value", [object(), {1, 2}, values, [lambda: 0], np.dtype("i4"), 1j])
def test_other_objects_are_not_sent(value):
    with pytest.raises(TypeError, match="cannot be sent to other workers"):
        values.encode(value)


def raw(text, rest=b""):
    return values._LENGTH.pack(len(text)) + text + rest


@pytest.mark.parametrize("data", [
    b"", b"\0" * 7, b"\xff" * 8, raw(b""), raw(b"{}"), raw(b"[]"), raw(b"[1]"), raw(b'["x"]'),
    raw(b'["array"]'), raw(b'["array","<f4",[1]]'), raw(b'["array","<f4",[1]]', b"\0" * 5),
    raw(b'["array","<f4",[-1]]'), raw(b'["array","<f4",[1.0]]', b"\0" * 4),
    raw(b'["array","|O8",[1]]', b"\0" * 8), raw(b'["array","|V4",[1]]', b"\0" * 4),
    raw(b'["array",["<f4"],[1]]', b"\0" * 4), raw(b'["array","nonsense",[1]]'),
    raw(b'["array","<f4",[4294967296,4294967296,4294967296]]'), raw(b'["array","|S0",[99999999]]'),
    raw(b'["objects",[2],[1]]'), raw(b'["bytes",5]', b"abc"), raw(b'["bytes",-1]'),
    raw(b'["list",["bytes",5],["bytes",-2]]', b"abc"), raw(b'["bytes","1"]', b"a"),
    raw(b'["dict",["list"],1]'), raw(b"[" * 100000), raw(b"\xff"),
    raw(b"1", b"more"), raw(b"cos\nsystem\n(S'true'\ntR.")], ids=lambda data: repr(data)[:40])
def test_anything_else_is_an_error(data):
    with pytest.raises(ValueError):
        values.decode(data)


def test_damaged_bytes_are_a_value_or_an_error():
    draw = random.Random(7)
    whole = values.encode(VALUES)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 2, 8))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            values.decode(bytes(data[:draw.choice((len(data), draw.randrange(len(data))))]))
        except ValueError:
            pass


def test_nothing_is_unpickled():
    """Neither by EPL itself, nor by Horovod's functions for objects, nor by NumPy."""
    found = []
    for root, _, files in os.walk(os.path.join(ROOT, "epl")):
        for name in files:
            if name.endswith(".py"):
                with open(os.path.join(root, name), encoding="utf-8") as file:
                    text = file.read()
                if re.search(r"\b(cloud)?pickle\.|import (cloud)?pickle|\bmarshal\b|\bshelve\b|"
                             r"hvd[.]\w+_object|allow_pickle=True", text):
                    found.append(name)
    assert not found
