# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""docs/api.md lists the interface; what docstrings show of it happens when it is run."""

import contextlib
import doctest
import importlib
import inspect
import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.communicators import registry
from epl.context import Wish
from epl.env import Env
from epl.rewrite.passes import PASSES
from tests.graph.devices import ONE, started
from tests.support.jobs import ROOT
from tests.support.schedules import registering

HOW = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def listed():
    """name -> what docs/api.md says of it."""
    with open(os.path.join(ROOT, "docs", "api.md"), encoding="utf-8") as file:
        lines = re.findall(r"^\* `([\w.]+)`: (.*(?:\n  .*)*)$", file.read(), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in lines}


def found(name):
    """What a dotted name stands for."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError):
            value = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                value = getattr(value, part)
            return value
    raise AssertionError("nothing is called {}".format(name))


def examples(name):
    """The examples of a name, and of the methods that stand in its class."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(found(name), name, globs={
        "epl": epl, "np": np, "tf": tf}) if test.examples]


WITH_EXAMPLES = sorted(name for name in listed() if examples(name))


def test_the_page_lists_what_the_package_exports():
    constants = {"VERSION", "__version__"}
    assert {"epl." + name for name in set(epl.__all__) - constants} <= set(listed())
    assert {"epl.profiler." + name for name in epl.profiler.__all__} <= set(listed())


@pytest.mark.parametrize("name", sorted(listed()))
def test_the_page_says_what_the_docstring_says(name):
    assert inspect.getdoc(found(name)).split("\n")[0] == listed()[name]


def test_what_scripts_call_has_an_example():
    missing = {"epl." + name for name in epl.__all__ if inspect.isfunction(getattr(epl, name))}
    assert missing <= set(WITH_EXAMPLES), missing - set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", sorted(
    name for name in listed() if inspect.isfunction(found(name))))
def test_every_argument_is_explained(name):
    _, _, arguments = inspect.getdoc(found(name)).partition("Args:\n")
    missing = [argument for argument in inspect.signature(found(name)).parameters
               if not re.search(r"^ +{}: ".format(argument), arguments, re.MULTILINE)]
    assert not missing


@pytest.mark.parametrize("name", sorted(
    name for name in listed() if inspect.isclass(found(name))))
def test_what_a_class_offers_is_explained(name):
    own = found(name)
    offered = [key for key, value in vars(own).items() if not key.startswith("_") and (
        isinstance(value, (property, classmethod, staticmethod))
        or getattr(value, "__qualname__", "").startswith(own.__qualname__ + "."))]
    assert not [key for key in offered if not inspect.getdoc(getattr(own, key))]


@pytest.fixture
def one_worker(monkeypatch):
    """One worker with two devices, and everything that an example registers is forgotten."""
    passes, communicators = list(PASSES), dict(registry._makers)
    with registering(), started(ONE, devices=2):
        yield
        worker = Env.get().worker  # that of the process, whatever epl.init is called later
        worker.check, worker.wish, worker.agreed = None, Wish.NONE, Wish.NONE
        worker.ended_together = False
    PASSES[:] = passes
    registry._makers.clear()
    registry._makers.update(communicators)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_do_what_they_show(name, one_worker):
    said = []
    for test in examples(name):
        doctest.DocTestRunner(optionflags=HOW).run(test, out=said.append)
    assert not said, "".join(said)
