# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What launchers say to each other: bytes, messages, silence."""

import os
import socket
import time

import pytest

from epl.launcher import channel, events
from epl.launcher.channel import Channel, ChannelClosed, Decoder, Message, encode
from epl.launcher.host import Output, Stacks, Started
from epl.launcher.remote import read_event, send_event
from epl.shared.progress import Status

PREAMBLE = b"\0epl-launch 2\n"
MESSAGES = [Message("hello", {"rank": 1, "name": "h\u00fc"}), Message("Output", {"worker": 0},
                                                                 bytes(range(256))),
            Message("close", {})]


class Clock:
    """Stands for `time` in the module of channels; moves when a test says so."""

    strftime, localtime, time = map(staticmethod, (time.strftime, time.localtime, time.time))

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(channel, "time", clock)
    return clock


@pytest.fixture
def pair():
    channels = []

    def make(silence=10.0):
        for connection in socket.socketpair():
            descriptor = connection.detach()
            channels.append(Channel(descriptor, descriptor, silence))
        return channels[-2:]

    yield make
    for one in channels:
        one.close()


def receive(channel, count):
    messages, deadline = [], time.monotonic() + 10
    while len(messages) < count:
        assert time.monotonic() < deadline
        messages += channel.receive()
    return messages


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_survive_any_cut(size):
    data = PREAMBLE + b"".join(map(encode, MESSAGES))
    decoder = Decoder()
    found = []
    for start in range(0, len(data), size):
        found += decoder.feed(data[start:start + size])
    assert found == MESSAGES


def test_a_greeting_of_the_remote_shell_is_no_message():
    decoder = Decoder()
    assert decoder.feed(b"Welcome to h1!\n" + PREAMBLE[:4]) == []
    assert not decoder.greeted
    assert decoder.feed(PREAMBLE[4:] + encode(MESSAGES[0])) == MESSAGES[:1]
    assert decoder.greeted
    assert decoder.noise == b"Welcome to h1!\n"


@pytest.mark.parametrize("data, message", [
    (b"\0epl-launch 1\n", "another version of epl-launch"),
    (b"x" * 70000, "what answers there is not epl-launch"),
    (PREAMBLE + b"\xff" * 8, "no message of epl-launch"),
    (PREAMBLE + b"\0\0\0\2\0\0\0\0[]", "no message of epl-launch"),
    (PREAMBLE + b"\0\0\0\2\0\0\0\0{}", "no message of epl-launch"),
])
def test_other_protocols_are_refused(data, message):
    with pytest.raises(ChannelClosed, match=message):
        Decoder().feed(data)


def test_a_stranger_may_send_short_messages_only():
    limit = channel._MAX_STRANGERS_BYTES
    short = Message("knock", {"number": "x" * (limit - 100)})
    for message in (Message("knock", {"number": "x" * limit}), Message("knock", {}, b"x")):
        decoder = Decoder(known=False)
        assert decoder.feed(PREAMBLE + encode(short)) == [short]
        with pytest.raises(ChannelClosed, match="no message of epl-launch"):
            decoder.feed(encode(message)[:8])  # it need not send what it announces
        decoder = Decoder(known=False)
        decoder.known = True
        assert decoder.feed(PREAMBLE + encode(message)) == [message]


def test_both_ways(pair):
    a, b = pair()
    a.send("signal", worker=1, signum=15)
    b.send("Output", b"line\n", worker=1, stream="stdout")
    assert receive(b, 1) == [Message("signal", {"worker": 1, "signum": 15})]
    assert receive(a, 1) == [Message("Output", {"worker": 1, "stream": "stdout"}, b"line\n")]


def test_more_than_a_socket_holds_is_queued_not_waited_for(pair):
    a, b = pair()
    begin = time.monotonic()
    for _ in range(100):
        a.send("Output", b"x" * 65536)
    assert time.monotonic() - begin < 60  # else for ever
    assert a.pending > 0
    total = 0
    while a.pending:
        total += sum(len(m.payload) for m in b.receive())
        a.flush()
    while total < 100 * 65536:
        total += sum(len(m.payload) for m in receive(b, 1))
    assert total == 100 * 65536


def test_the_end_of_the_other_side(pair):
    a, b = pair()
    a.flush()
    a.close()
    with pytest.raises(ChannelClosed, match="the connection was closed"):
        for _ in range(2):
            b.receive()


def test_silence(clock, pair):
    a, b = pair(silence=0.3)
    a.flush()
    b.receive()
    b.tick()
    clock.now += 0.2
    b.tick()
    clock.now += 0.2
    with pytest.raises(ChannelClosed,
                       match=r"nothing was heard from it for 0 s, since \d\d:\d\d:\d\d$"):
        b.tick()


def test_who_was_stopped_itself_waits_anew_and_says_so(clock, pair):
    a, b = pair(silence=4.0)
    a.flush()
    b.receive()
    clock.now += 30.0
    b.tick()
    for _ in range(3):
        clock.now += 1.5
        a.tick()
        b.receive()
        b.tick()
    a.receive()
    a.close()
    with pytest.raises(ChannelClosed) as raised:
        for _ in range(2):
            b.receive()
    assert str(raised.value) == (
        "the connection was closed, after this process itself had stood still for 30 s")


def test_a_stop_of_long_ago_is_not_to_blame(clock, pair):
    a, b = pair(silence=4.0)
    a.flush()
    b.receive()
    clock.now += 30.0
    for _ in range(9):
        b.receive()
        b.tick()
        clock.now += 1.5
        a.tick()
    a.receive()
    a.close()
    with pytest.raises(ChannelClosed, match="the connection was closed$"):
        for _ in range(2):
            b.receive()


def test_nobody_is_silent_before_he_has_come(pair):
    _, b = pair(silence=0.1)
    time.sleep(0.2)
    b.tick()


def test_what_lies_there_unread_is_no_silence(pair):
    a, b = pair(silence=0.2)
    a.flush()
    b.receive()
    a.send("note")
    time.sleep(0.3)
    b.tick()
    assert [m.kind for m in b.receive()] == ["note"]


def test_heartbeats_come_by_themselves_and_are_no_messages(pair):
    a, b = pair()
    a.flush()
    b.receive()
    time.sleep(1.1)
    a.tick()
    data = os.read(b.fileno(), 1000)
    assert b'"heartbeat"' in data
    assert Decoder().feed(PREAMBLE + data)[0].kind == "heartbeat"
    time.sleep(1.1)
    a.tick()
    assert b.receive() == []


def test_drain_gives_up_on_a_reader_that_does_nothing(pair):
    a, _ = pair(silence=0.3)
    for _ in range(100):
        a.send("Output", b"x" * 65536)
    with pytest.raises(ChannelClosed, match="it took nothing for 0.3 s"):
        a.drain()


@pytest.mark.parametrize("event", [
    Started(1, 4711), Output(0, "stderr", b"\xff\0"), Output(2, "stdout", b""),
    events.WorkerExited(1, -9), events.GroupGone(1), Stacks(0, "Thread 0x1\n"),
    events.Progress(1, Status("waiting", True, 7, "a step", 1.5, 12, False)),
])
def test_events_arrive_as_they_were(pair, event):
    a, b = pair()
    send_event(a, event)
    assert read_event(receive(b, 1)[0]) == event


@pytest.mark.parametrize("message", [
    Message("start", {}), Message("Started", {"worker": 1}), Message("Progress", {"worker": 1}),
    Message("HostLost", {"host": "h", "reason": "r"}),
])
def test_what_is_no_event_is_refused(message):
    with pytest.raises(ChannelClosed, match="that was not expected"):
        read_event(message)
