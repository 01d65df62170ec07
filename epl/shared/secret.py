# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Secrets: that of one job, and the one by which machines that nobody connects know each other.

A launcher draws a secret for every attempt and hands it to its workers: in the environment of a
process of its own, over ssh to another machine. Where nobody of ours starts all of them
(`--machine_list`, `TF_CONFIG`, `mpirun` and the like) they have a file in common, `~/.epl_secret`,
which is made when it is first needed. It never travels: who has it proves that with an HMAC (RFC
2104) over numbers that both sides have just drawn.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import socket
import stat

from epl.errors import ConfigError

VARIABLE = "EPL_SECRET_FILE"

_DEFAULT = os.path.join("~", ".epl_secret")
_BYTES = 16
_SHORTEST, _LONGEST = 16, 4096  # characters of a secret in a file
_OTHERS = 0o077


def draw() -> str:
    """A new secret, or a number that is used once: 128 random bits in hexadecimal."""
    return secrets.token_hex(_BYTES)


def path_of_shared() -> str:
    """The file of the common secret."""
    return os.environ.get(VARIABLE) or os.path.expanduser(_DEFAULT)


def shared() -> str:
    """The common secret of this user's machines.

    Raises:
      ConfigError: the file is missing, others can read it, or it holds no secret.
    """
    path = path_of_shared()
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        if os.environ.get(VARIABLE):
            raise ConfigError("{} = {}: there is no such file; put the same 32 random characters "
                              "into it on every machine (python -c 'import secrets; "
                              "print(secrets.token_hex())'), and chmod 600".format(VARIABLE, path))
        _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigError("the secret of this job's machines, {}, cannot be used ({}); name "
                          "another file in {}".format(path, error.strerror, VARIABLE)) from error


def proof(secret: str, *facts: str) -> str:
    """What shows that somebody who has `secret` says `facts`."""
    text = "\0".join(facts).encode("utf-8", "surrogateescape")
    return hmac.new(secret.encode("utf-8"), text, hashlib.sha256).hexdigest()


def equal(one: str, other: str) -> bool:
    """Whether two secrets or proofs are the same; how long it takes does not say how nearly."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"),
                               other.encode("utf-8", "surrogateescape"))


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
            raise ConfigError("the secret of this job's machines, {}, is no file of yours; name "
                              "another in {}".format(path, VARIABLE))
        if status.st_mode & _OTHERS:
            raise ConfigError("the secret of this job's machines, {0}, has mode {1:o}: others can "
                              "read it; draw a new one (rm {0}) or, if nobody has, chmod 600 {0}"
                              .format(path, stat.S_IMODE(status.st_mode)))
        text = file.read(_LONGEST + 1).decode("utf-8", "replace").strip()
    if not _SHORTEST <= len(text) <= _LONGEST or not text.isprintable():
        raise ConfigError("the secret of this job's machines, {}, has {} characters; put {} to {} "
                          "printable ones into it, the same on every machine".format(
                              path, len(text), _SHORTEST, _LONGEST))
    return text


def _make(path: str) -> None:
    """Make the file, whole from the beginning: of several workers that do so one succeeds."""
    new = "{}.{}-{}".format(path, socket.gethostname(), draw())
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                         0o600)
    try:
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(2 * _BYTES) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        os.remove(new)
