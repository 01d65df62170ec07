# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The code of docs/migrating.md: what all patterns share, and both sides of each."""

import os
import re
from typing import Any, Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tests.support.jobs import ROOT


class Page(NamedTuple):
    """The code on the page.

    Attributes:
      shared: what comes before every pattern.
      with_epl: what comes before it with EPL.
      patterns: title -> (before, after).
    """

    shared: str
    with_epl: str
    patterns: Dict[str, Any]


def read_page() -> Page:
    with open(os.path.join(ROOT, "docs", "migrating.md"), encoding="utf-8") as file:
        parts = re.split(r"^## \d+\. (.*)$", file.read(), flags=re.MULTILINE)
    shared, with_epl = _blocks(parts[0])
    patterns = {}
    for title, text in zip(parts[1::2], parts[2::2]):
        before, after = _blocks(text)
        patterns[title] = before, after
    return Page(shared, with_epl, patterns)


def found_by(code: str, directory: str) -> Any:
    """What `code` leaves in `found`, as float64 arrays.

    Args:
      code: of a script.
      directory: a new one for it, which all workers see.
    """
    os.makedirs(directory, exist_ok=True)
    tf.set_random_seed(11)  # the graph's seed is part of what a seeded shuffle draws
    names = {"directory": os.path.join(directory, "model"), "checkpoint": _checkpoint(directory)}
    exec(compile(code, "docs/migrating.md", "exec"), names)
    found = names["found"]
    return [np.asarray(value, np.float64) for value in
            (found if isinstance(found, list) else [found])]


def _checkpoint(directory: str) -> str:
    """Writes the checkpoint that a pattern starts from; every process its own."""
    path = os.path.join(directory, "pretrained-{}".format(os.getpid()), "model.ckpt")
    values = {"dense/kernel": np.arange(12, dtype=np.float32).reshape([3, 4]) / 10.0,
              "dense/bias": np.arange(4, dtype=np.float32) / 10.0}
    os.makedirs(os.path.dirname(path))
    with tf.Graph().as_default(), tf.Session() as session:
        session.run(tf.raw_ops.SaveV2(
            prefix=path, tensor_names=sorted(values), shape_and_slices=["", ""],
            tensors=[tf.constant(values[name]) for name in sorted(values)]))
    return path


def _blocks(text: str) -> Any:
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
