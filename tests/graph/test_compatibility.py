# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every public name of the original EPL is here what docs/compatibility.md says of it."""

import importlib.util
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.config import OPTIONS
from epl.errors import ConfigError
from tests.graph import devices
from tests.graph.devices import REPLICAS
from tests.support.jobs import ROOT

_ERRORS = {each.__name__: each for each in (
    AttributeError, ConfigError, ImportError, NotImplementedError)}


def _script():
    path = os.path.join(ROOT, "scripts", "compatibility_table.py")
    specification = importlib.util.spec_from_file_location("compatibility_table", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


TABLE = _script()
ENTRIES = [entry for part in TABLE.parts() for entry in part["names"]]


def test_the_page_has_the_table():
    assert TABLE.read(TABLE.PAGE) == TABLE.page(), "run scripts/compatibility_table.py"


def test_entries():
    names = [entry["name"] for entry in ENTRIES]
    assert len(set(names)) == len(names)
    for entry in ENTRIES:
        assert entry["state"] in ("works", "differs", "not available"), entry
        assert ("raises" in entry) == (entry["state"] == "not available"), entry
        assert entry["state"] != "differs" or entry.get("how"), entry
    assert set(OPTIONS) - set(names) == {  # which are EPL's own
        "amp.dtype", "auto.costs", "auto.device_speeds", "auto.memory_budget_mb",
        "communication.communicator", "gradient_checkpoint.budget_mb", "pipeline.num_chunks"}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_name(entry, tmp_path):
    with devices.started(REPLICAS) as graph:
        known = {"epl": epl, "tf": tf, "np": np, "graph": graph, "directory": str(tmp_path),
                 "model": lambda: devices.fit(devices.stages(None))}
        if "raises" not in entry:
            exec(entry["code"], known)
            return
        kind, _, text = entry["raises"].partition(": ")
        with pytest.raises(_ERRORS[kind]) as caught:
            exec(entry["code"], known)
        assert text in str(caught.value)
