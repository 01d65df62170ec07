# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Plain values from another machine or worker, checked against the types of a NamedTuple.

JSON brings anything; what is used further on is what was expected, or an error. Known are numbers,
texts, truth values, `Optional`, lists, mappings, and NamedTuples, which travel as lists or objects.
"""

import collections.abc
import math
import typing
from typing import Any, Dict, Type, TypeVar, Union

T = TypeVar("T")


def made(cls: Type[T], value: Any) -> T:
    """A `cls`, a NamedTuple, from the object or list that stands for it.

    Raises:
      ValueError: a field is missing, unknown, or of another type.
    """
    fields: Any = cls
    names = fields._fields
    if isinstance(value, (list, tuple)):
        if len(value) > len(names):
            raise ValueError("too many values for {}".format(cls.__name__))
        value = dict(zip(names, value))
    if not isinstance(value, dict) or not set(value) <= set(names):
        raise ValueError("these are no values of {}".format(cls.__name__))
    hints = typing.get_type_hints(cls)
    try:
        return fields(**{name: _fitting(each, hints[name]) for name, each in value.items()})
    except TypeError as error:  # one without a default is missing
        raise ValueError(str(error)) from None


def taken(fields: Dict[str, Any], name: str, kind: Any) -> Any:
    """The value of `name`, of type `kind`. Raises ValueError."""
    if name not in fields:
        raise ValueError("'{}' is missing".format(name))
    return _fitting(fields[name], kind)


def _fitting(value: Any, kind: Any) -> Any:
    """`value` as a `kind`."""
    origin: Any = getattr(kind, "__origin__", None)
    inner: Any = getattr(kind, "__args__", ())
    if origin is Union:
        return None if value is None else _fitting(value, inner[0])
    if kind is Any:
        return value
    if hasattr(kind, "_fields"):
        return made(kind, value)
    if origin in (list, collections.abc.Sequence) and isinstance(value, (list, tuple)):
        return [_fitting(each, inner[0]) for each in value]
    if origin in (dict, collections.abc.Mapping) and isinstance(value, dict):
        return {key: _fitting(each, inner[1]) for key, each in value.items()}
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind in (int, str, bool, bytes) and type(value) is kind:
        return value
    raise ValueError("a value of another type was expected")
