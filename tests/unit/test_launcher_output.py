# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lines out of bytes, and consoles and files that are slow or fail."""

import os
import re
import threading
import time

import pytest

from epl.errors import ConfigError
from epl.launcher.console import Console, wants_colour
from epl.launcher.lines import LineAssembler
from epl.launcher.plan import LOCAL, WorkerPlan
from epl.launcher.sinks import LogFile, Sinks, prefix


def lines_of(chunks, limit=1 << 16):
    assembler = LineAssembler(limit)
    lines = [line for now, chunk in enumerate(chunks) for line in assembler.feed(chunk, now * 10.0)]
    return lines + assembler.finish()


@pytest.mark.parametrize("chunks, lines", [
    ([], []),
    ([b"a\nb\n"], [b"a\n", b"b\n"]),
    ([b"a", b"b\nc", b"\n"], [b"ab\n", b"c\n"]),
    ([b"no end"], [b"no end\n"]),
    ([b"\n\n"], [b"\n", b"\n"]),
    (["\u00e9\u4e16".encode()[:1], "\u00e9\u4e16\n".encode()[1:]], ["\u00e9\u4e16\n".encode()]),
    ([b"\xff\xfe\n"], ["\ufffd\ufffd\n".encode()]),
    ([b"a\r\nb\r", b"\n"], [b"a\n", b"b\n"]),
    # A progress bar: what is overwritten before it is shown is not shown, the last state is.
    ([b"1%\r2%\r3%\n"], [b"3%\n"]),
    ([b"\r1%", b"\r2%", b"\r3%", b"\n"], [b"1%\n", b"2%\n", b"3%\n"]),
    ([b"1%\r", b"2%\r", b"2%\r\n", b"next\n"], [b"1%\n", b"2%\n", b"next\n"]),
    ([b"\r1%", b"\r2%"], [b"1%\n", b"2%\n"]),
    ([b"1%\r"], [b"1%\n"]),
])
def test_whole_lines(chunks, lines):
    assert lines_of(chunks) == lines


def test_a_progress_bar_is_shown_now_and_then():
    assembler = LineAssembler()
    shown = [line for tick in range(300)
             for line in assembler.feed("\r{} of 300".format(tick).encode(), tick / 100)]
    assert shown == [b"0 of 300\n", b"100 of 300\n", b"200 of 300\n"]
    assert assembler.finish() == [b"299 of 300\n"]


def test_a_progress_bar_is_not_stored():
    assembler = LineAssembler(limit=100)
    for number in range(10000):
        assembler.feed(b"\r%09d" % number, 0.0)
    assert assembler.finish() == [b"000009999\n"]


def test_a_line_is_held_back_until_it_is_whole():
    assembler = LineAssembler()
    assert assembler.feed(b"half", 0.0) == []
    assert assembler.feed(b" a line\nnext", 100.0) == [b"half a line\n"]


def test_long_lines_come_in_pieces_that_add_up():
    text = b"0123456789" * 10
    for chunk in (1, 3, 7, 100):
        chunks = [text[i:i + chunk] for i in range(0, len(text), chunk)] + [b"\nshort\n"]
        lines = lines_of(chunks, limit=16)
        assert lines.pop() == b"short\n"
        assert max(map(len, lines)) <= 17
        assert b"".join(line[:-1] for line in lines) == text


def test_no_piece_ends_inside_a_character():
    text = "a\u00e9\u4e16\U0001f600" * 50
    for limit in range(4, 20):
        lines = lines_of([text.encode()], limit)
        assert all(len(line) <= limit + 1 for line in lines)
        assert "".join(line[:-1].decode("utf-8") for line in lines) == text


def test_bytes_that_are_no_utf8_are_cut_too():
    lines = lines_of([b"\x80" * 100], limit=10)
    assert "".join(line[:-1].decode("utf-8") for line in lines) == "\ufffd" * 100


def test_a_stream_without_newline_is_not_stored():
    assembler = LineAssembler(limit=1000)
    fed = out = 0
    for _ in range(1000):
        fed += 700
        out += sum(len(line) - 1 for line in assembler.feed(b"x" * 700, 0.0))
        assert fed - out <= 1000


def test_a_console_whose_reader_is_gone_drops_what_is_written():
    reader, writer = os.pipe()
    os.close(reader)
    console = Console(writer)
    console.say("nobody reads this")
    console.write(b"nor this\n")
    console.flush()
    console.write(b"nor this\n")
    console.flush()
    os.close(writer)


def test_a_console_that_is_non_blocking_gets_everything():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if os.fork() == 0:
        console = Console(writer)
        console.write(b"z" * 999999 + b"\n")
        console.flush()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"z" * 999999 + b"\n"
    os.wait()


def test_nobody_waits_for_a_slow_reader_and_it_is_told_what_it_missed():
    reader, writer = os.pipe()
    console = Console(writer, limit=1000000)
    begin = time.monotonic()
    for number in range(20000):
        console.write(b"%099d\n" % number)
    console.flush(idle=0.2)
    assert time.monotonic() - begin < 60.0  # else for ever
    shown = b""
    while shown.count(b"\n") < 10000:  # what fits: the limit, or a little more that had been sent
        shown += os.read(reader, 1 << 16)
    console.say("the end")
    while not shown.endswith(b"the end\n"):
        shown += os.read(reader, 1 << 16)
    lines = shown.decode().splitlines()
    note = re.match(r"epl-launch: (\d+) line\(s\) not shown", lines[-2])
    numbers = [int(line) for line in lines[:-2]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + int(note.group(1)) == 20000
    os.close(reader)
    os.close(writer)


def test_the_end_does_not_wait_without_end_for_a_reader_that_is_slow():
    reader, writer = os.pipe()
    console = Console(writer)
    for _ in range(1024):
        console.write(b"x" * 1023 + b"\n")
    done = threading.Event()

    def read():  # all of it would take it two minutes
        while not done.wait(0.5):
            os.read(reader, 4096)

    thread = threading.Thread(target=read)
    thread.start()
    begin = time.monotonic()
    console.flush(total=0.5)
    seconds = time.monotonic() - begin
    done.set()
    thread.join()
    os.close(reader)
    console.flush()
    os.close(writer)
    assert seconds < 60.0


def test_colour_is_for_terminals():
    reader, writer = os.pipe()
    assert not wants_colour(Console(writer), {"TERM": "xterm"})
    main, terminal = os.openpty()
    assert wants_colour(Console(terminal), {"TERM": "xterm"})
    assert not wants_colour(Console(terminal), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not wants_colour(Console(terminal), {"TERM": "dumb"})
    for fd in (reader, writer, main, terminal):
        os.close(fd)


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


class Screen:
    """What a console was given."""

    def __init__(self):
        self.text = b""

    def write(self, lines):
        self.text += lines

    def say(self, text):
        self.text += text.encode() + b"\n"


def plan(worker, root, host=LOCAL):
    directory = os.path.join(str(root), str(worker))
    os.makedirs(directory, exist_ok=True)
    return WorkerPlan(worker, host, 0, 1, [], {}, "", "/", directory, directory)


def test_where_the_output_goes(tmp_path):
    stdout, stderr = Screen(), Screen()
    sinks = Sinks([plan(0, tmp_path), plan(1, tmp_path, "far")], stdout, stderr, {1},
                  colour=(True, False))
    for worker in (0, 1):
        sinks.feed(worker, "stdout", b"out\xff\r")
        sinks.feed(worker, "stdout", b"\nend")
        sinks.feed(worker, "stderr", b"err\n")
        sinks.feed(worker, "stdout", b"")
    sinks.close()
    assert stdout.text.decode() == "".join(
        "\x1b[35m[far:1] \x1b[0m{}\n".format(line) for line in ("out\ufffd", "end"))
    assert stderr.text == b"[far:1] err\n"
    assert (tmp_path / "combined.log").read_text("utf-8").splitlines() == [
        "[worker 0] out\ufffd", "[worker 0] err", "[worker 0] end",
        "[far:1] out\ufffd", "[far:1] err", "[far:1] end"]
    for worker in ("0", "1"):
        assert (tmp_path / worker / "stdout.log").read_bytes() == b"out\xff\r\nend"
        assert (tmp_path / worker / "stderr.log").read_bytes() == b"err\n"
        assert sinks.tail(int(worker)) == ["err"]


def test_a_log_that_cannot_be_opened_is_named(tmp_path):
    os.makedirs(str(tmp_path / "0" / "stderr.log"))
    with pytest.raises(ConfigError, match="worker 0 cannot be started: .*stderr.log"):
        Sinks([plan(0, tmp_path)], Screen(), Screen())


def test_prefixes():
    assert prefix(plan(3, "/tmp")) == "[worker 3] "
    assert prefix(plan(3, "/tmp", "alpha")) == "[alpha:3] "
