# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A slow, lossy cable between two network namespaces, where the kernel has no `tc netem`.

    python -m tests.support.slow_cable A B --interface epl0 --delay 0.1 --loss 0.05

makes a network interface of that name in both namespaces (TAP devices) and carries every Ethernet
frame from one to the other: `delay` seconds later, or, with the probability `loss`, not at all;
with `--rate` so many bytes a second, one frame after the other. All hold for each direction, as if
each end had `tc qdisc add dev epl0 root netem delay 100ms loss 5% rate ...`. So the TCP of the
kernel sees a line of that kind: a round trip of twice the delay, packets that have to be sent
again, slow starts. Prints a line when the interfaces are there; ends with its standard input.
"""

import argparse
import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_FRAME_BYTES = 65536
_MOST_FRAMES = 1000  # under way in one direction; more are dropped, as by netem


def open_tap(namespace, interface):
    """The descriptor of a new TAP device in a namespace; reads and writes are single frames."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open("/var/run/netns/" + namespace, os.O_RDONLY)
    try:
        if libc.setns(other, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", interface.encode(),
                                                 _IFF_TAP | _IFF_NO_PI))
        if libc.setns(own, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(own)
        os.close(other)
    return tap


class Direction:
    """Frames on their way from `source` to `target`."""

    def __init__(self, source, target, delay, loss, rate):
        self.source, self._target = source, target
        self._delay, self._loss, self._rate = delay, loss, rate
        self._free = 0.0  # when the last frame has left
        self._frames = collections.deque()  # (when it arrives, frame)

    def take(self):
        """Read what is there to be sent."""
        try:
            while True:
                frame = os.read(self.source, _FRAME_BYTES)
                if random.random() >= self._loss and len(self._frames) < _MOST_FRAMES:
                    self._free = max(self._free, time.monotonic()) + (
                        len(frame) / self._rate if self._rate else 0.0)
                    self._frames.append((self._free + self._delay, frame))
        except OSError:
            pass  # no more, or the interface is down

    def give(self):
        """Deliver what has been under way long enough; seconds until the next, or None."""
        while self._frames:
            wait = self._frames[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, frame = self._frames.popleft()
            try:
                os.write(self._target, frame)
            except OSError:
                pass  # the interface is down
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("namespaces", nargs=2)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--delay", type=float, required=True, help="seconds, one way")
    parser.add_argument("--loss", type=float, required=True, help="a part of 1")
    parser.add_argument("--rate", type=float, help="bytes a second; without it, any number")
    options = parser.parse_args()
    ends = [open_tap(name, options.interface) for name in options.namespaces]
    directions = [Direction(source, target, options.delay, options.loss, options.rate)
                  for source, target in (ends, ends[::-1])]
    print("ready", flush=True)
    while True:
        waits = [wait for wait in [direction.give() for direction in directions]
                 if wait is not None]
        readable, _, _ = select.select(ends + [0], [], [], min(waits) if waits else None)
        if 0 in readable:
            return
        for direction in directions:
            if direction.source in readable:
                direction.take()


if __name__ == "__main__":
    sys.exit(main())
