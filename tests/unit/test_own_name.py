# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A machine whose own name stands for no address."""

import os
import socket
import subprocess
import sys

import pytest

from epl.communicators.horovod import own_name
from epl.errors import ConfigError

LOCAL = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1"}
FAR = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "10.0.0.1"}
NOBODY = "nobody-is-called.invalid"

# In a process of its own: what is replaced stays. Where Python's own library asks for the name, it
# is asked; the library of Horovod is in tests/dist/test_culprits.py.
REPLACE = """
import _socket, socket
from epl.communicators.horovod import own_name
path = getattr(_socket, "__file__", None)
print(path is not None and own_name._replace(path, b"gethostname",
                                             own_name._FUNCTION(own_name._own_name)))
print(socket.gethostname())
print(socket.getaddrinfo(socket.gethostname(), None)[0][4][0])
"""


def test_names_that_stand_for_something_and_not():
    assert own_name.resolves("localhost") and own_name.resolves("127.0.0.1")
    assert not own_name.resolves(NOBODY) and not own_name.resolves("a" * 70)


def test_the_library_is_told_an_address():
    done = subprocess.run([sys.executable, "-c", REPLACE], stdout=subprocess.PIPE, check=True)
    replaced, name, address = done.stdout.decode().split()
    if replaced == "False":
        pytest.skip("this Python has its sockets built in")
    assert (name, address) == ("127.0.0.1", "127.0.0.1")


def test_a_name_that_stands_for_something_is_left_alone(monkeypatch):
    monkeypatch.setattr(own_name, "_replace", pytest.fail)
    own_name.answer_for_library("lib.so", {})
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    own_name.answer_for_library("lib.so", LOCAL)


@pytest.mark.parametrize("environ, replaced", [(LOCAL, False), (FAR, True)])
def test_where_no_answer_would_do_the_cure_is_named(monkeypatch, environ, replaced):
    monkeypatch.setattr(socket, "gethostname", lambda: NOBODY)
    monkeypatch.setattr(own_name, "_replace", lambda *args: replaced)
    with pytest.raises(ConfigError, match="'{}' stands for no address.*/etc/hosts".format(NOBODY)):
        own_name.answer_for_library("lib.so", environ)


def test_what_is_no_library_and_what_it_does_not_import(tmp_path):
    path = tmp_path / "lib.so"
    path.write_text("no library at all")
    assert own_name._slot(str(path), b"gethostname") is None
    assert own_name._slot(os.path.realpath(sys.executable), b"no_such_function") is None
    assert own_name._base(str(path)) is None
