# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

import collections
import os
import signal
import zlib

import pytest

from tests.support import haste, missing
from tests.support.jobs import ROOT, without_foreign

# Files whose tests are all in `scripts/test.sh --fast`; others mark single tests as fast.
_FAST_FILES = ("tests/unit/", "tests/graph/test_pass_")

# What the suite itself asks the environment for, beside what `without_foreign` keeps.
_OWN = ("EPL_CONTROL_FLOW", "EPL_FULL_MATRIX", "EPL_RANDOM_PROGRAMS", "EPL_RANDOM_SEED")


# A test of so many cases is shared out by --half; and all tests of what steers no TensorFlow.
_MANY = 3
_SHARED_OUT = "tests/tooling/"
_WHOLE = "tests/unit/"  # cheap, and Python's version counts there


def pytest_addoption(parser):
    parser.addoption("--half", choices=("even", "odd"), help=(
        "of tests of {} cases or more, and of those of tooling, run half of the cases; the other "
        "half is for the other version of TensorFlow".format(_MANY)))


def pytest_configure(config):
    _hear_signals()
    _forget_the_shell()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config, items):
    if config.getoption("half"):
        out = _of_the_other_half(items, config.getoption("half") == "odd")
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=list(out))
    for item in items:
        if item.nodeid.startswith(_FAST_FILES):
            item.add_marker(pytest.mark.fast)
        if _shares_with_its_file(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))
        elif _has_a_layout(item) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.replace(
                str(item.callspec.params["layout"]), "")))


def pytest_collection_finish():
    haste.begin()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that needs what this environment lacks is skipped, with the reason."""
    report = (yield).get_result()
    if report.failed and call.excinfo is not None:
        reason = missing.reason(str(call.excinfo.value))
        if reason is not None:
            report.outcome = "skipped"
            report.longrepr = str(item.path if hasattr(item, "path") else item.fspath), \
                item.location[1], "Skipped: " + reason


def _of_the_other_half(items, is_odd):
    """Those that another version of TensorFlow runs, drawn by the names of their cases.

    Not every other one: cases are listed in loops, and the version would go with what the innermost
    loop says. Both versions run at least one case of each test.
    """
    tests = collections.defaultdict(list)
    for item in items:
        tests[item.nodeid.split("[")[0]].append(item)
    found = {}
    for name, cases in tests.items():
        shared_out = len(cases) >= _MANY or name.startswith(_SHARED_OUT)
        if shared_out and not name.startswith(_WHOLE):
            others = [item for item in cases if _draw(item) % 2 != is_odd]
            if len(others) == len(cases) > 1:
                others.remove(min(others, key=_draw))
            found.update(dict.fromkeys(others))
    return found


def _draw(item):
    return zlib.crc32(_case(item).encode())


def _case(item):
    """What a case is called in all tests that take it, so that they have in common what is made."""
    name, _, case = item.nodeid.partition("[")
    return case or name


def _shares_with_its_file(item):
    """Whether a test uses what its file makes once: several processes would make it several times.

    `--dist loadgroup` gives all such tests of a file to one process.
    """
    definitions = item._fixtureinfo.name2fixturedefs.values()
    return any(definition[-1].scope in ("module", "class") for definition in definitions)


def _has_a_layout(item):
    """Whether a test is a case on one of several layouts, which have one reference in common."""
    return hasattr(item, "callspec") and "layout" in item.callspec.params


def _hear_signals():
    """Jobs that tests start hear Ctrl-C and the end of their terminal.

    Whoever runs the suite under nohup or in the background of a script has these signals ignored,
    and ignored signals, unlike handled ones, stay so in the processes that are started.
    """
    for signum in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)


def _forget_the_shell():
    """Tests, and what they start, see nothing that steers EPL, Horovod or a Python from outside.

    What they start imports this repository, wherever EPL is installed.
    """
    kept = without_foreign(os.environ)
    kept.update({name: os.environ[name] for name in _OWN if name in os.environ})
    for name in set(os.environ) - set(kept):
        del os.environ[name]
    os.environ["PYTHONPATH"] = ROOT
