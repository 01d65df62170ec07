# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The secret that machines have in common: where it is kept, and how it is proved."""

import os
import re
import stat
import threading

import pytest

from epl.communicators.horovod.rendezvous import answer
from epl.errors import ConfigError
from epl.launcher import runner
from epl.launcher.channel import ChannelClosed, Message
from epl.launcher.devices import DevicePlan
from epl.launcher.handshake import CHALLENGE, HELLO, KNOCK, Door, Knock
from epl.launcher.host import Allocation
from epl.launcher.plan import LOCAL
from epl.shared import secret


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EPL_SECRET_FILE", raising=False)
    return tmp_path


def test_every_job_and_every_attempt_has_its_own():
    drawn = {secret.draw() for _ in range(100)}
    assert len(drawn) == 100 and all(re.match("[0-9a-f]{32}$", one) for one in drawn)
    allocation = Allocation([], [LOCAL, LOCAL], DevicePlan("cpu", ["", ""]), "127.0.0.1")
    for _ in range(2):
        with runner._rendezvous(allocation) as meeting:
            assert answer(meeting) == 404 and meeting.secret not in drawn
            drawn.add(meeting.secret)


def test_it_is_made_once_and_nobody_else_can_read_it(home):
    first = secret.shared()
    path = home / ".epl_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first) == 64 and path.read_text().strip() == first
    assert secret.shared() == first
    assert os.listdir(str(home)) == [".epl_secret"]


def test_all_that_make_it_at_once_have_the_same(home):
    found = []
    threads = [threading.Thread(target=lambda: found.append(secret.shared())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602])
def test_a_file_that_others_can_use_is_refused(home, mode):
    secret.shared()
    (home / ".epl_secret").chmod(mode)
    with pytest.raises(ConfigError, match="has mode {:o}: others can read it".format(mode)):
        secret.shared()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(home):
    secret.shared()
    os.chown(str(home / ".epl_secret"), 12345, -1)
    with pytest.raises(ConfigError, match="is no file of yours"):
        secret.shared()


@pytest.mark.parametrize("content, words", [
    (b"", "has 0 characters"), (b"short\n", "has 5 characters"), (b"x" * 5000, "characters"),
    (b"\0" * 40, "printable"), (b"\xff\n" * 40, "printable")])
def test_a_file_without_a_secret_is_refused(home, monkeypatch, content, words):
    path = home / "other"
    path.write_bytes(content)
    path.chmod(0o600)
    monkeypatch.setenv("EPL_SECRET_FILE", str(path))
    with pytest.raises(ConfigError, match=words):
        secret.shared()


@pytest.mark.parametrize("make", ["missing", "directory", "fifo", "below a file"])
def test_what_is_no_file_is_refused(home, monkeypatch, make):
    path = home / "other"
    if make == "directory":
        path.mkdir(mode=0o700)
    elif make == "fifo":
        os.mkfifo(str(path), 0o600)
    elif make == "below a file":
        path.write_text("x")
        path = path / "secret"
    monkeypatch.setenv("EPL_SECRET_FILE", str(path))
    with pytest.raises(ConfigError, match="no such file|is no file of yours|cannot be used"):
        secret.shared()


def test_a_home_directory_without_room_is_said(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home / "nowhere"))
    with pytest.raises(ConfigError, match="cannot be used .*name another file in EPL_SECRET_FILE"):
        secret.shared()


def hello(proof):
    return Message(HELLO, {"rank": 1, "proof": proof})


def meet(own, others):
    """The door of machine 0, and what the other answers to its challenge."""
    door, knock = Door(own), Knock(others)
    return door, knock.answer(Message(CHALLENGE, door.challenge(Message(KNOCK, knock.fields))))


def test_two_with_the_same_secret_know_each_other():
    door, proof = meet("one secret", "one secret")
    message = hello(proof)
    door.admit(message)
    assert message.fields == {"rank": 1}


def test_who_has_another_secret_finds_out_and_is_not_let_in():
    door, proof = meet("one secret", "another secret")
    assert proof is None
    for guess in (None, "", 7, ["x"], "x" * 64, secret.proof("another secret", "x")):
        with pytest.raises(ChannelClosed, match="does not have this job's secret"):
            door.admit(hello(guess))


def test_a_proof_serves_once():
    """Neither at another door, nor sent back, nor before a knock."""
    _, proof = meet("one secret", "one secret")
    door, _ = meet("one secret", "one secret")
    for again in (proof, door.challenge(Message(KNOCK, {"number": "7"}))["proof"]):
        with pytest.raises(ChannelClosed):
            door.admit(hello(again))
    door = Door("one secret")
    for number in ("", door._number):
        with pytest.raises(ChannelClosed):
            door.admit(hello(secret.proof("one secret", "another machine", "", number)))


def test_who_has_listened_cannot_say_it_again():
    knock = Knock("one secret")
    doors, proofs = [Door("one secret") for _ in range(2)], []
    for door in doors:
        challenge = door.challenge(Message(KNOCK, knock.fields))
        proofs.append(knock.answer(Message(CHALLENGE, challenge)))
    with pytest.raises(ChannelClosed):
        doors[1].admit(hello(proofs[0]))
    doors[1].admit(hello(proofs[1]))


@pytest.mark.parametrize("fields", [{}, {"number": 1}, {"number": None}, {"number": ["x"]}])
def test_what_is_no_knock_is_let_go(fields):
    with pytest.raises(ChannelClosed):
        Door("one secret").challenge(Message(KNOCK, fields))


@pytest.mark.parametrize("fields", [{}, {"number": "1"}, {"number": "1", "proof": 2},
                                    {"number": "1", "proof": "2", "more": "3"}])
def test_what_is_no_challenge_is_refused(fields):
    with pytest.raises(ChannelClosed):
        Knock("one secret").answer(Message(CHALLENGE, fields))
