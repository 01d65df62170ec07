# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What two launchers, or a launcher and its agent, say to each other, and how silence is noticed.

Each side begins with a preamble; what comes before it (the greeting of a remote shell) is no
message. Then messages follow, each

    4 bytes n, 4 bytes m    big-endian lengths
    n bytes                 JSON: an object with "kind" and other fields
    m bytes                 payload: the bytes of a worker's output, as they are

Until it is known who the other side is, only short messages are taken from it.

Both sides send a heartbeat every second. Who hears nothing for the agreed time takes the other side
for lost: a pulled cable closes no connection. Who was stopped itself (SIGSTOP) could not hear, and
begins to wait anew; if the other side has given it up meanwhile, it says why.
"""

import contextlib
import json
import os
import select
import struct
import time
from typing import Any, Dict, List, NamedTuple

from epl.launcher.options import HOST_TIMEOUT_S

PROTOCOL = 2
HEARTBEAT_S = 1.0

_PREAMBLE = "\0epl-launch {}\n".format(PROTOCOL).encode("ascii")
_ANY_VERSION = b"\0epl-launch "
_LENGTHS = struct.Struct(">II")
_MAX_NOISE_BYTES = 64 * 1024
_MAX_STRANGERS_BYTES = 64 * 1024
_MAX_JSON_BYTES = 16 * 1024 * 1024
_MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
_READ_BYTES = 256 * 1024
_HEARTBEAT = "heartbeat"


class ChannelClosed(Exception):
    """The other side is gone, silent, or does not speak this protocol; says which in words."""


class Message(NamedTuple):
    """One message.

    Attributes:
      kind: what it is about.
      fields: its values, whatever JSON can hold.
      payload: bytes that belong to it.
    """

    kind: str
    fields: Dict[str, Any]
    payload: bytes = b""


def encode(message: Message) -> bytes:
    """The bytes of `message`."""
    text = json.dumps(dict(message.fields, kind=message.kind)).encode("utf-8")
    return _LENGTHS.pack(len(text), len(message.payload)) + text + message.payload


class Decoder:
    """From the bytes of the other side to messages.

    Args:
      known: see `Channel`.

    Attributes:
      greeted: the other side's preamble has come.
      noise: what came before it.
    """

    def __init__(self, known: bool = True) -> None:
        self.known = known
        self.greeted = False
        self.noise = b""
        self._rest = b""

    def feed(self, data: bytes) -> List[Message]:
        """The messages that `data` completes.

        Raises:
          ChannelClosed: these are no messages of this protocol.
        """
        self._rest += data
        if not self.greeted:
            self._find_preamble()
        messages: List[Message] = []
        position = 0
        while self.greeted and len(self._rest) >= position + _LENGTHS.size:
            text_size, payload_size = _LENGTHS.unpack_from(self._rest, position)
            if text_size > (_MAX_JSON_BYTES if self.known else _MAX_STRANGERS_BYTES) \
                    or payload_size > (_MAX_PAYLOAD_BYTES if self.known else 0):
                raise ChannelClosed("it sent something that is no message of epl-launch")
            text = position + _LENGTHS.size
            payload = text + text_size
            if len(self._rest) < payload + payload_size:
                break
            position = payload + payload_size
            messages.append(_parse(self._rest[text:payload], self._rest[payload:position]))
        self._rest = self._rest[position:]
        return messages

    def _find_preamble(self) -> None:
        start = self._rest.find(_PREAMBLE)
        if start >= 0:
            self.noise, self._rest = self._rest[:start], self._rest[start + len(_PREAMBLE):]
            self.greeted = True
            return
        self.noise = self._rest
        other = self._rest.find(_ANY_VERSION)
        if other >= 0 and b"\n" in self._rest[other:]:
            raise ChannelClosed("it runs another version of epl-launch")
        if len(self._rest) > _MAX_NOISE_BYTES:
            raise ChannelClosed("what answers there is not epl-launch")


def _parse(text: bytes, payload: bytes) -> Message:
    try:
        fields = json.loads(text.decode("utf-8"))
        kind = fields.pop("kind")
        if isinstance(kind, str):
            return Message(kind, fields, payload)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ChannelClosed("it sent something that is no message of epl-launch")


class Channel:
    """Messages over two file descriptors, which may be the same one (a socket).

    Nothing here waits, except `drain`.

    Args:
      reader, writer: file descriptors; the channel closes them.
      silence: seconds without a sign of life after which the other side counts as lost.
      known: it is known who the other side is; else `trust` says so later.
    """

    def __init__(self, reader: int, writer: int, silence: float = HOST_TIMEOUT_S,
                 known: bool = True):
        self.silence = silence
        self._reader, self._writer = reader, writer
        for descriptor in {reader, writer}:
            os.set_blocking(descriptor, False)
        self._decoder = Decoder(known)
        self._unsent = bytearray(_PREAMBLE)
        self._heard = self._spoke = self._awake = time.monotonic()
        self._stopped_s = self._woke = 0.0  # how long this process did nothing, until when
        self._open = True

    def fileno(self) -> int:
        """What to wait for: it becomes readable when there may be messages."""
        return self._reader

    def trust(self) -> None:
        """The other side has shown who it is: it may send what it has to say."""
        self._decoder.known = True

    @property
    def greeted(self) -> bool:
        """The other side speaks this protocol; from then on its silence counts."""
        return self._decoder.greeted

    @property
    def noise(self) -> str:
        """What came before the protocol began, for an error message."""
        return self._decoder.noise.decode("utf-8", "replace").strip()

    @property
    def pending(self) -> int:
        """Bytes that are not sent yet."""
        return len(self._unsent)

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        """Queue a message and send what can be sent now. Raises ChannelClosed."""
        self._unsent += encode(Message(kind, fields, payload))
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now. Raises ChannelClosed."""
        try:
            while self._unsent:
                sent = os.write(self._writer, self._unsent)
                del self._unsent[:sent]
                self._spoke = time.monotonic()
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._closed("the connection broke ({})".format(error.strerror)) from error

    def drain(self, below: int = 0) -> None:
        """Wait until at most `below` bytes are unsent. Raises ChannelClosed, also after silence."""
        deadline = time.monotonic() + self.silence
        self.flush()
        while len(self._unsent) > below:
            left = deadline - time.monotonic()
            if left <= 0:
                self._refuse_silence()
                raise ChannelClosed("it took nothing for {:g} s".format(self.silence))
            select.select([], [self._writer], [], left)
            self.flush()

    def receive(self) -> List[Message]:
        """What has come, heartbeats left out. Raises ChannelClosed, also at the end."""
        self._wake()
        try:
            data = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise self._closed("the connection broke ({})".format(error.strerror)) from error
        if not data:
            raise self._closed("the connection was closed")
        self._heard = time.monotonic()
        return [m for m in self._decoder.feed(data) if m.kind != _HEARTBEAT]

    def tick(self) -> None:
        """Send a heartbeat when it is time. Raises ChannelClosed when the other side is silent."""
        now = self._wake()
        if now - self._spoke >= HEARTBEAT_S and len(self._unsent) < _READ_BYTES:
            self.send(_HEARTBEAT)
            self._spoke = now  # also when nothing could be sent: they must not pile up
        else:
            self.flush()
        self._refuse_silence()

    def _wake(self) -> float:
        """The time; notes whether this process did nothing for so long that others gave it up."""
        now = time.monotonic()
        if now - self._awake > self.silence:
            self._stopped_s = now - self._awake
            self._heard = self._woke = now
        self._awake = now
        return now

    def _closed(self, text: str) -> ChannelClosed:
        if self._stopped_s and time.monotonic() - self._woke < 2 * self.silence:
            text += ", after this process itself had stood still for {:.0f} s".format(
                self._stopped_s)
        return ChannelClosed(text)

    def _refuse_silence(self) -> None:
        silent = time.monotonic() - self._heard
        # This process may have been kept from reading: what came meanwhile counts.
        if self.greeted and silent > self.silence and not select.select([self], [], [], 0)[0]:
            raise self._closed("nothing was heard from it for {:.0f} s, since {}".format(
                silent, time.strftime("%H:%M:%S", time.localtime(time.time() - silent))))

    def close(self) -> None:
        """Close both file descriptors; a second call does nothing."""
        if self._open:
            self._open = False
            for descriptor in {self._reader, self._writer}:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
