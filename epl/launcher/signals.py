# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Signals to the launcher, as news that a selector can wait for."""

import contextlib
import signal
import socket
from typing import Iterator

from epl.launcher.job import ENDING_SIGNALS, FORWARDED_SIGNALS


@contextlib.contextmanager
def signal_news() -> Iterator[socket.socket]:
    """A socket with one byte, its number, for every signal that the launcher listens to.

    SIGCHLD is among them. A signal that was ignored when the launcher started (`nohup`) stays
    ignored. Only for the main thread.
    """
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    heard = [s for s in ENDING_SIGNALS + FORWARDED_SIGNALS
             if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, _note) for s in heard + [signal.SIGCHLD]}
    wakeup_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        reader.close()
        writer.close()


def exit_on_signal(news: socket.socket) -> None:
    """Read signals that came before there are workers. Raises SystemExit for one that ends."""
    for signum in news.recv(64):
        if signum in ENDING_SIGNALS:
            raise SystemExit(128 + signum)


def _note(signum: int, frame: object) -> None:
    """Python needs a handler to write to the socket; the loop does the rest."""
