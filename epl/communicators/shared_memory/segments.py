# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory that one worker writes and those on its machine read.

    own file      mark | of exchange a: piece, piece | of exchange b: piece, piece | ...

It is a file of the kernel's without a name in any directory (memfd_create(2)): it takes what was
written to it, like other memory of the process, and is gone when nobody has it open. Others of the
same user open it through the process that has it, /proc/PID/fd/N.
"""

import ctypes
import itertools
import mmap
import os
import secrets
import threading
import weakref
from typing import Any, Dict, Hashable, Iterator, NamedTuple, Tuple

import numpy as np

from epl.errors import ConfigError

# Bytes. Longer arrays pass piece by piece: the memory that they take does not grow with them.
PIECE = 4 << 20

_MARK_BYTES = 32
_HEADER = mmap.PAGESIZE  # of the file: the mark
_CLOSE_ON_EXEC = 1

_owned: "weakref.WeakSet[Segment]" = weakref.WeakSet()


class Where(NamedTuple):
    """How others find a segment.

    Attributes:
      path: of the file.
      mark: what it begins with: another process may have got that number.
    """

    path: str
    mark: str


class Segment:
    """This worker's memory.

    Raises:
      ConfigError: the system has no such memory.
    """

    def __init__(self) -> None:
        self._file = _made()
        self._places: Dict[Hashable, Iterator[Tuple[int, Any]]] = {}
        self._size, self._growing = _HEADER, threading.Lock()
        mark = secrets.token_hex(_MARK_BYTES // 2)
        os.ftruncate(self._file, self._size)
        os.pwrite(self._file, mark.encode(), 0)
        self.where = Where("/proc/{}/fd/{}".format(os.getpid(), self._file), mark)
        _owned.add(self)

    def piece(self, name: Hashable) -> Tuple[int, Any]:
        """Where an exchange writes next: two places in turns, as others may still read the last.

        Returns:
          Where it begins in the file, in bytes, and the bytes themselves: uint8 [PIECE].
        """
        if name not in self._places:
            with self._growing:
                begin = self._size
                self._size += 2 * PIECE
                os.ftruncate(self._file, self._size)  # takes memory only where it is written
            memory = mmap.mmap(self._file, 2 * PIECE, offset=begin)
            both = np.frombuffer(memory, np.uint8).reshape(2, PIECE)
            self._places[name] = itertools.cycle([(begin, both[0]), (begin + PIECE, both[1])])
        return next(self._places[name])

    def forget(self) -> None:
        """A forked child does not hold its parent's memory."""
        os.close(self._file)


class Seen:
    """Another worker's memory.

    Raises:
      OSError, ValueError: it is not there.
    """

    def __init__(self, where: Where):
        self._file = os.open(where.path, os.O_RDONLY | os.O_CLOEXEC)
        self._pieces: Dict[int, Any] = {}
        if os.pread(self._file, _MARK_BYTES, 0) != where.mark.encode():
            os.close(self._file)
            raise ValueError("{} is another one".format(where.path))

    def piece(self, begin: int) -> Any:
        """The bytes that begin there: uint8 [PIECE], which cannot be written."""
        if begin not in self._pieces:
            memory = mmap.mmap(self._file, PIECE, offset=begin, access=mmap.ACCESS_READ)
            self._pieces[begin] = np.frombuffer(memory, np.uint8)
        return self._pieces[begin]

    def close(self) -> None:
        """No further slots are read."""
        os.close(self._file)


def _made() -> int:
    """The number of a new file of the kernel's."""
    library = ctypes.CDLL(None, use_errno=True)  # Python has it from 3.8 on
    if not hasattr(library, "memfd_create"):
        raise ConfigError("the communicator 'shared_memory' needs memfd_create, which this "
                          "system's C library lacks (glibc has it from 2.27 on); choose another "
                          "one with communication.communicator")
    found = int(library.memfd_create(b"epl", _CLOSE_ON_EXEC))
    if found < 0:
        raise ConfigError("the communicator 'shared_memory' gets no memory ({}); choose another "
                          "one with communication.communicator".format(
                              os.strerror(ctypes.get_errno())))
    return found


def _forget_all() -> None:
    for segment in list(_owned):
        segment.forget()


os.register_at_fork(after_in_child=_forget_all)
