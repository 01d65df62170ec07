# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether the index of a checkpoint is as it was written.

`MODEL.index` is a table in LevelDB's format: blocks, each with its checksum, and a footer that says
where the block is that lists the others. TensorFlow trusts sizes that it reads there, so they are
checked first.

    block     contents, 1 byte (how they are packed), 4 bytes CRC-32C of both, masked
    entry     bytes shared with the last key, further bytes, bytes of the value; these; the value
    footer    48 bytes: where two blocks are (of nothing, and of the list), filler, magic number

https://github.com/google/leveldb/blob/main/doc/table_format.md describes it.
"""

import struct
from typing import Iterator, List, NamedTuple, Optional, Tuple

from examples.bert.errors import UserError

_FOOTER_BYTES = 48
_MAGIC = struct.pack("<Q", 0xdb4775248b80fb57)
_TRAILER_BYTES = 5
_MASK = 0xa282ead8
_POLYNOMIAL = 0x82f63b78  # of CRC-32C (Castagnoli), bits reversed


class _Block(NamedTuple):
    """Where a block is."""

    start: int
    size: int


class _Damaged(Exception):
    """The table is not as it was written."""


def check_index(path: str) -> None:
    """Raises UserError if the index file at `path` cannot be read, or is damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UserError("cannot read the checkpoint's '{}': {}".format(
            path, error.strerror)) from None
    try:
        footer = data[-_FOOTER_BYTES:]
        if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
            raise _Damaged()
        other, position = _block(footer, 0)
        listing, _ = _block(footer, position)
        for block in [other] + list(_listed(_contents(data, listing))):
            _contents(data, block)
    except _Damaged:
        raise UserError("the checkpoint's '{}' is damaged, or not whole: take another checkpoint, "
                        "or another copy of this one".format(path)) from None


def _contents(data: bytes, block: _Block) -> Optional[bytes]:
    """What a block holds, if its checksum is right; None if that is packed."""
    end = block.start + block.size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise _Damaged()
    expected = struct.unpack_from("<I", data, end + 1)[0]
    crc = _crc(data[block.start:end + 1])
    if ((crc >> 15 | crc << 17) + _MASK) & 0xffffffff != expected:
        raise _Damaged()
    return None if data[end] else data[block.start:end]


def _listed(contents: Optional[bytes]) -> Iterator[_Block]:
    """The blocks that the list names; at its end stand restarts, 4 bytes each, and their number.

    TensorFlow packs no blocks. Of a list that another program has packed the checksum has to do.
    """
    if contents is None:
        return
    if len(contents) < 4:
        raise _Damaged()
    restarts = struct.unpack("<I", contents[-4:])[0]
    end, position = len(contents) - 4 * (1 + restarts), 0
    while position < end:
        _, position = _number(contents, position)
        further, position = _number(contents, position)
        length, position = _number(contents, position)
        block, _ = _block(contents, position + further)
        yield block
        position += further + length


def _block(data: bytes, position: int) -> Tuple[_Block, int]:
    start, position = _number(data, position)
    size, position = _number(data, position)
    return _Block(start, size), position


def _number(data: bytes, position: int) -> Tuple[int, int]:
    """(a number of seven bits a byte, where it ends)."""
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        value |= (byte & 0x7f) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise _Damaged()


def _table() -> List[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
        table.append(number)
    return table


_TABLE = _table()


def _crc(data: bytes) -> int:
    crc = 0xffffffff
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff
