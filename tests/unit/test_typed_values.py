# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What comes from another machine has the types that were expected, or is an error."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import pytest

from epl.launcher.channel import ChannelClosed, Message
from epl.launcher.remote import read_event
from epl.typed import made, taken


class Inner(NamedTuple):
    name: str
    note: Optional[str] = None


class Outer(NamedTuple):
    number: int
    seconds: float
    inner: Inner
    words: Sequence[str] = ()
    table: Dict[str, str] = {}
    lists: List[List[int]] = []


GOOD = {"number": 1, "seconds": 2, "inner": ["a"]}


@pytest.mark.parametrize("changes", [
    {}, {"inner": {"name": "a", "note": None}}, {"words": ["x", ""]}, {"table": {"k": "v"}},
    {"lists": [[1], []]}])
def test_what_was_expected(changes):
    found = made(Outer, dict(GOOD, **changes))
    assert found.number == 1 and type(found.seconds) is float
    assert isinstance(found.inner, Inner) and found.inner.note is None
    for name, value in changes.items():
        assert name == "inner" or getattr(found, name) == value


@pytest.mark.parametrize("changes", [
    {"number": "1"}, {"number": True}, {"number": 1.0}, {"number": None}, {"seconds": "2"},
    {"seconds": float("nan")}, {"seconds": float("inf")}, {"inner": None}, {"inner": "ab"},
    {"inner": []}, {"inner": ["a", "b", "c"]}, {"inner": ["a", 1]}, {"inner": {"other": "a"}},
    {"words": "xy"}, {"words": {"x": 1}}, {"words": ["x", 1]}, {"table": []},
    {"table": {"k": None}}, {"lists": [1]}, {"lists": [["x"]]}, {"more": 1}])
def test_anything_else_is_an_error(changes):
    with pytest.raises(ValueError):
        made(Outer, dict(GOOD, **changes))


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [1], [1, 2.0], {"number": 1}])
def test_a_part_is_an_error(value):
    with pytest.raises(ValueError):
        made(Outer, value)


def test_one_field():
    assert taken({"a": 1}, "a", int) == 1
    for fields in ({}, {"a": "1"}, {"a": True}):
        with pytest.raises(ValueError):
            taken(fields, "a", int)


@pytest.mark.parametrize("kind, fields", [
    ("Started", {"worker": 0}), ("Started", {"worker": "0", "pid": 1}),
    ("Started", {"worker": [], "pid": 1}), ("WorkerExited", {"worker": 0, "returncode": None}),
    ("Output", {"worker": 0, "stream": 1}), ("Progress", {"worker": 0, "status": [1, 2]}),
    ("Stacks", {"worker": 0, "text": {}}), ("HostLost", {"host": "x", "reason": "y"}), ("", {})])
def test_no_event_of_a_worker(kind, fields):
    with pytest.raises(ChannelClosed, match="that was not expected"):
        read_event(Message(kind, fields))
