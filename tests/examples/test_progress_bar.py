# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Progress is a bar on a terminal and lines anywhere else."""

import io
import os
import pty
import re

import pytest

from examples.bert.progress_bar import ProgressBar


def test_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    with ProgressBar("features", 10, stream, seconds=0.0) as bar:
        bar.advance(4)
        bar.advance(6)
    lines = stream.getvalue().splitlines()
    assert re.match(r"features: 4/10, \d+/s, 0:00:00 left$", lines[0])
    assert lines[1:] == ["features: 10/10 in 0:00:00"]


def test_lines_are_not_written_all_the_time():
    stream = io.StringIO()
    with ProgressBar("features", 100, stream, seconds=1000.0) as bar:
        for _ in range(100):
            bar.advance(1)
    assert stream.getvalue() == "features: 100/100 in 0:00:00\n"


def test_work_that_ends_early_is_not_called_done():
    stream = io.StringIO()
    with pytest.raises(KeyError):
        with ProgressBar("features", 10, stream) as bar:
            bar.advance(4)
            raise KeyError
    assert stream.getvalue() == "features: 4/10 in 0:00:00, not finished\n"


def test_a_bar_on_a_terminal_is_one_line():
    mine, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        with ProgressBar("features", 6, terminal) as bar:
            bar.advance(6)
        shown = os.read(mine, 1000).decode()
    os.close(mine)
    assert shown == "\r\x1b[Kfeatures [" + "#" * 30 + "] 6/6 in 0:00:00\r\n"
