# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Progress is a bar on a terminal and lines anywhere else."""

import io
import os
import pty
import re

import pytest

from examples.bert.progress_bar import ProgressBar

_TIME = r"\d:\d\d:\d\d"


def test_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    with ProgressBar("features", 10, stream, seconds=0.0) as bar:
        bar.advance(4)
        bar.advance(6)
    lines = stream.getvalue().splitlines()
    assert re.match(r"features: 4/10, \d+/s, {} left$".format(_TIME), lines[0])
    assert re.match("features: 10/10 in {}$".format(_TIME), lines[1]) and len(lines) == 2


def test_lines_are_not_written_all_the_time():
    stream = io.StringIO()
    with ProgressBar("features", 100, stream, seconds=1000.0) as bar:
        for _ in range(100):
            bar.advance(1)
    assert re.match("features: 100/100 in {}\n$".format(_TIME), stream.getvalue())


def test_work_that_ends_early_is_not_called_done():
    stream = io.StringIO()
    with pytest.raises(KeyError):
        with ProgressBar("features", 10, stream) as bar:
            bar.advance(4)
            raise KeyError
    assert re.match("features: 4/10 in {}, not finished\n$".format(_TIME), stream.getvalue())


def test_a_bar_on_a_terminal_is_one_line():
    mine, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        with ProgressBar("features", 6, terminal) as bar:
            bar.advance(6)
        shown = b""
        while not shown.endswith(b"\n"):  # a terminal may hand on a part of what was written
            shown += os.read(mine, 1000)
    os.close(mine)
    drawn = re.escape("\r\x1b[Kfeatures [" + "#" * 30 + "] 6/6 in ")
    assert re.match(drawn + _TIME + "\r\n$", shown.decode())
