# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What `benchmarks/soak.py` takes for growth. No job runs."""

import importlib
import os
import random

import pytest

from tests.support import jobs


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(jobs.ROOT, "benchmarks"))
    return importlib.import_module("soak")


def samples(mib_per_hour=0.0, last_descriptors=20, last_threads=4):
    """25 minutes with a look every 5 s, noise of 1 MiB, and one spike."""
    draw = random.Random(1)
    found = [(5.0 + i / 12.0, 400.0 + draw.uniform(0.0, 1.0) + mib_per_hour * i / 720.0, 20, 4)
             for i in range(300)]
    found[100] = (found[100][0], 500.0, 21, 5)
    return found[:-1] + [(found[-1][0], found[-1][1], last_descriptors, last_threads)]


@pytest.mark.parametrize("changes, faults", [
    ({}, []), ({"mib_per_hour": 6.0}, []), ({"mib_per_hour": -50.0}, []),
    ({"mib_per_hour": 11.0}, ["memory"]), ({"last_descriptors": 22}, ["descriptors"]),
    ({"last_threads": 6}, ["threads"])])
def test_what_grows(soak, changes, faults):
    grown = soak.Growth(samples(**changes))
    assert grown.faults == faults
    assert grown.per_hour[0] == pytest.approx(changes.get("mib_per_hour", 0.0), abs=1.0)
    assert grown.first[1:] == grown.last[1:] == (20, 4)
