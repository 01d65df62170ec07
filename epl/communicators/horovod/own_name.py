# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A machine whose own name stands for no address: workers on it meet all the same.

Gloo asks for the machine's name and listens at the address that it stands for, even if an
interface was named (Horovod 0.28 names it for the first contexts only, see
`epl.launcher.preflight`). Workers of one machine meet on the loopback interface, and need no name.
There is no setting for that, and only the machine's owner can give it a name; so Horovod's library,
and nothing else in the process, is told that the name is 127.0.0.1: its `gethostname`, which the
system's loader has entered in the library's own table of imported functions, is replaced there.

The layout of that table is that of ELF, in 64 bits and with the lowest byte first.
"""

import contextlib
import ctypes
import mmap
import os
import socket
import struct
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

from epl.communicators.horovod.variables import RENDEZVOUS_ADDR
from epl.errors import ConfigError

LOOPBACK = b"127.0.0.1"

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
# Of <elf.h>.
_HEADER = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
_SYMBOL_BYTES, _RELOCATION = 24, struct.Struct("<QQq")

_kept: List[Any] = []  # what the library calls must live as long as the process


def answer_for_library(path: str, environ: Mapping[str, str]) -> None:
    """See to it that Gloo in the library at `path`, which is loaded, finds an address.

    Args:
      path: Horovod's library.
      environ: the variables by which Horovod finds the rendezvous.

    Raises:
      ConfigError: the machine's name stands for no address, and others could not reach it here.
    """
    if _kept or not environ.get(RENDEZVOUS_ADDR) or resolves(socket.gethostname()):
        return
    alone = environ[RENDEZVOUS_ADDR].startswith("127.")
    if not alone or not _replace(path, b"gethostname", _FUNCTION(_own_name)):
        raise ConfigError("this machine's own name '{}' stands for no address at which Horovod "
                          "could listen; write it and its address into /etc/hosts".format(
                              socket.gethostname()))


def resolves(name: str) -> bool:
    """Whether an address is known for `name`."""
    try:
        return bool(socket.getaddrinfo(name, None, socket.AF_UNSPEC, socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def _own_name(buffer: int, size: int) -> int:
    """As `gethostname` of C."""
    text = LOOPBACK + b"\0"
    ctypes.memmove(buffer, text, min(size, len(text)))
    return 0


def _replace(path: str, name: bytes, function: Any) -> bool:
    """Let the library call `function` where it calls `name`; False if it does not call it."""
    base = _base(path)
    offset = _slot(path, name)
    if base is None or offset is None:
        return False
    page = mmap.PAGESIZE
    start = (base + offset) // page * page
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(page),
                     mmap.PROT_READ | mmap.PROT_WRITE) != 0:
        return False
    _kept.append(function)
    ctypes.c_void_p.from_address(base + offset).value = ctypes.cast(
        function, ctypes.c_void_p).value
    return True


def _base(path: str) -> Optional[int]:
    """Where the library begins in this process."""
    with open("/proc/self/maps") as file:
        starts = [line.split("-")[0] for line in file
                  if line.rstrip("\n").endswith(" " + os.path.realpath(path))]
    return min(int(start, 16) for start in starts) if starts else None


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def _slot(path: str, name: bytes) -> Optional[int]:
    """Where, from the beginning of the library, the address of the imported `name` stands."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        data = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if data[:len(_HEADER)] != _HEADER:
            return None
        segments = list(_segments(data))
        tags = _dynamic(data, segments)
        symbols, texts = (_position(segments, tags[tag]) for tag in (_DT_SYMTAB, _DT_STRTAB))
        for table, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
            begin = _position(segments, tags[table]) if table in tags else 0
            for position in range(begin, begin + tags.get(size, 0), _RELOCATION.size):
                offset, info, _ = _RELOCATION.unpack_from(data, position)
                text = texts + struct.unpack_from("<I", data, symbols
                                                  + (info >> 32) * _SYMBOL_BYTES)[0]
                if info >> 32 and data[text:text + len(name) + 1] == name + b"\0":
                    return int(offset)
    return None


def _segments(data: Any) -> Iterator[_Segment]:
    """The program headers."""
    begin, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for position in range(begin, begin + size * count, size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, position)
        yield _Segment(kind, offset, address, length)


def _dynamic(data: Any, segments: List[_Segment]) -> Dict[int, int]:
    """The values of the dynamic section by their tags."""
    tags: Dict[int, int] = {}
    for segment in segments:
        if segment.kind == _PT_DYNAMIC:
            for position in range(segment.offset, segment.offset + segment.size, 16):
                tag, value = struct.unpack_from("<QQ", data, position)
                tags[tag] = value
    return tags


def _position(segments: List[_Segment], address: int) -> int:
    """Where in the file stands what is loaded at `address`."""
    return next(address - segment.address + segment.offset for segment in segments
                if segment.kind == _PT_LOAD
                and segment.address <= address < segment.address + segment.size)
