# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of a job, made so that nobody else decides where they are or reads what they hold.

Their names are known beforehand. A link that somebody else has put there is not followed, and what
is no file (a pipe that nobody reads) makes nobody wait. Their mode is 600: they hold arguments, and
what a script prints.
"""

import errno
import os
import stat
from typing import Optional

_MODE = 0o600
_CAREFUL = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_to_append(path: str) -> int:
    """A descriptor that writes to the end of a file, which may exist. Raises OSError."""
    return _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def open_in_place(path: str) -> int:
    """A descriptor that reads and writes a file, which may exist. Raises OSError."""
    return _open(path, os.O_RDWR | os.O_CREAT)


def open_new(path: str) -> int:
    """A descriptor that writes a new file. Raises OSError if anything is there."""
    return _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def open_to_read(path: str) -> int:
    """A descriptor that reads a file. Raises OSError."""
    return _open(path, os.O_RDONLY)


def _open(path: str, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | _CAREFUL, _MODE)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):
            raise OSError(errno.ELOOP, "it is a symbolic link; remove it", path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):  # only root makes devices
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file; remove it", path)
    return descriptor


def others_can_write(path: str) -> Optional[str]:
    """Who else can replace what is in a directory, in words; None: nobody. Raises OSError."""
    status = os.stat(path)
    if status.st_uid not in (os.geteuid(), 0):
        return "belongs to another user (number {})".format(status.st_uid)
    if status.st_mode & stat.S_IWOTH:
        return "can be written to by everybody (mode {:o})".format(stat.S_IMODE(status.st_mode))
    return None
