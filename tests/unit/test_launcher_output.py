# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lines out of bytes, and consoles and files that fail."""

import os

import pytest

from epl.launcher.output import Console, LineSplitter, LogFile


def split(chunks, limit=1 << 16):
    splitter = LineSplitter(limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.finish()


@pytest.mark.parametrize("chunks, lines", [
    ([], []),
    ([b"a\nb\n"], [b"a\n", b"b\n"]),
    ([b"a", b"b\nc", b"\n"], [b"ab\n", b"c\n"]),
    ([b"no end"], [b"no end\n"]),
    ([b"\n\n"], [b"\n", b"\n"]),
    (["\u00e9\u4e16".encode()[:1], "\u00e9\u4e16\n".encode()[1:]], ["\u00e9\u4e16\n".encode()]),
    ([b"\xff\xfe\n"], [b"\xff\xfe\n"]),
])
def test_whole_lines(chunks, lines):
    assert split(chunks) == lines


def test_a_line_is_held_back_until_it_is_whole():
    splitter = LineSplitter()
    assert splitter.feed(b"half") == []
    assert splitter.feed(b" a line\nnext") == [b"half a line\n"]


def test_long_lines_come_in_pieces_that_add_up():
    text = b"0123456789" * 10
    for chunk in (1, 3, 7, 100):
        chunks = [text[i:i + chunk] for i in range(0, len(text), chunk)] + [b"\nshort\n"]
        lines = split(chunks, limit=16)
        assert lines.pop() == b"short\n"
        assert max(map(len, lines)) <= 17
        assert b"".join(line[:-1] for line in lines) == text


def test_no_piece_ends_inside_a_character():
    text = "a\u00e9\u4e16\U0001f600" * 50
    for limit in range(4, 20):
        lines = split([text.encode()], limit)
        assert all(len(line) <= limit + 1 for line in lines)
        assert "".join(line[:-1].decode("utf-8") for line in lines) == text


def test_bytes_that_are_no_utf8_are_cut_too():
    lines = split([b"\x80" * 100], limit=10)
    assert b"".join(line[:-1] for line in lines) == b"\x80" * 100
    assert max(map(len, lines)) <= 11


def test_a_stream_without_newline_is_not_stored():
    splitter = LineSplitter(limit=1000)
    fed = out = 0
    for _ in range(1000):
        fed += 700
        out += sum(len(line) - 1 for line in splitter.feed(b"x" * 700))
        assert fed - out <= 1000


def test_a_console_whose_reader_is_gone_drops_what_is_written():
    reader, writer = os.pipe()
    os.close(reader)
    console = Console(writer)
    console.say("nobody reads this")
    console.write(b"nor this")
    os.close(writer)


def test_a_console_that_is_non_blocking_gets_everything(tmp_path):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if os.fork() == 0:
        Console(writer).write(b"z" * 1000000)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"z" * 1000000
    os.wait()


def test_a_log_file_is_appended_to(tmp_path):
    path = str(tmp_path / "stdout.log")
    for text in (b"first\n", b"second"):
        log = LogFile(path, pytest.fail)
        log.write(text)
        log.close()
    with open(path, "rb") as written:
        assert written.read() == b"first\nsecond"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this machine")
def test_a_full_disk_is_reported_once():
    complaints = []
    log = LogFile("/dev/full", complaints.append)
    log.write(b"lost")
    log.write(b"lost too")
    assert len(complaints) == 1
    assert "/dev/full" in complaints[0] and "No space left" in complaints[0]
