# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The campaign of random deaths: who dies when, and what is counted. No job runs."""

import os

import pytest

from tests.campaign import __main__ as campaign
from tests.campaign import deaths, hosts

GOOD = campaign.Found("SIGKILL", "dp", True, True, 0, True, True, 0.5, "")


@pytest.mark.parametrize("kind, worker, steps, dies_at", [
    ("exception", 1, 10, 5), ("exception", 0, 10, None), ("", 1, 10, None)])
def test_one_worker_dies_at_its_step(tmp_path, monkeypatch, kind, worker, steps, dies_at):
    monkeypatch.setenv(deaths.VARIABLE, kind + ":1:0.45" if kind else "")
    monkeypatch.setenv("EPL_CAMPAIGN_DIRECTORY", str(tmp_path))
    death, died = deaths.Death(worker, steps), None
    death.begin()
    for step in range(steps):
        try:
            death.at(step)
        except ValueError:
            died = step
            break
    assert died == dies_at
    assert os.path.exists(str(tmp_path / "died")) == (died is not None)


@pytest.mark.parametrize("changes", [
    {"code": False}, {"culprit": False}, {"left": 1}, {"checkpoint": False}, {"same": False}])
def test_what_is_no_good_end(changes):
    assert campaign.good(GOOD) and campaign.good(GOOD._replace(kind="launcher", culprit=None))
    assert not campaign.good(GOOD._replace(**changes))


@pytest.mark.parametrize("verdict, blames", [
    ("worker 1 does not arrive where worker 0 wait(s)", True),
    ("the stack of worker 1 is not like the others': look there first", True),
    ("worker 0 does not arrive where worker 1 wait(s)", False),
    ("the workers wait for each other in different places", False)])
def test_whom_the_launcher_blames_for_a_hang(verdict, blames):
    headline = "stalled: no worker got on for 20 s (--stall_timeout); ended after 26.3 s"
    output = "+-- epl-launch: {}\n|   verdict: {}\n".format(headline, verdict)
    assert campaign.names(output, headline, 1) == blames


def test_the_table_counts_each_way_to_die():
    rows = campaign.table([
        GOOD, GOOD._replace(culprit=False, left=2, seconds=1.5),
        GOOD._replace(kind="launcher", culprit=None, seconds=None)]).splitlines()[2:]
    assert rows == [
        "| SIGKILL | 2 | 2 | 1 of 2 | 2 | 2 | 2 | 1.00 | 1.50 |",
        "| launcher | 1 | 1 | - | 0 | 1 | 1 | nan | nan |",
        "| all | 3 | 3 | 1 of 2 | 2 | 3 | 3 | 1.00 | 1.50 |"]


CUT = hosts.Found(hosts.SCENES["cut"], "machine_list", [1, 1], [
    "host 198.18.77.2 lost: nothing was heard from it for 10 s, since 08:15:41",
    "host 198.18.77.1 lost: the connection was closed"], [10.5, 10.0], 10.6, 0, True, True)
SHORT_CUT = CUT._replace(scene=hosts.SCENES["short cut"], codes=[0, 0], words=["done in 1 s", ""])


@pytest.mark.parametrize("changes", [
    {"codes": [1, 2]}, {"words": CUT.words[::-1]}, {"left": 1}, {"checkpoint": False},
    {"same": False}])
def test_what_is_no_good_end_of_a_job_of_two_machines(changes):
    assert CUT.good and CUT._replace(way="ssh", codes=[1], words=CUT.words[:1]).good
    assert SHORT_CUT.good and not SHORT_CUT._replace(codes=[0, 1]).good
    assert not CUT._replace(**changes).good


def test_the_table_of_two_machines():
    assert hosts.table([CUT, CUT._replace(way="ssh", codes=[0], words=["done"])]).splitlines()[2:] \
        == ["| line cut at the far machine | `--machine_list` | 1, 1 | yes | 10.5, 10.0 | 0 | yes "
            "| yes |",
            "| line cut at the far machine | `--hosts` | 0 | NO: done | 10.5, 10.0 | 0 | yes "
            "| yes |"]
