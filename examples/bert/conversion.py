# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions to windows in several processes.

    this process     chunks of questions  ->  python -m examples.bert.conversion   (each of them:
                     chunks of windows    <-  pickles in standard input and output)

The processes are started anew, not forked, because TensorFlow's threads do not survive a fork; and
they are not those of `multiprocessing`, which would run the script that started them again, and
with it TensorFlow. They end when their input does, whatever becomes of this process.
"""

import collections
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Deque, Generator, List, Sequence, Tuple

from examples.bert.errors import UserError
from examples.bert.features import Reader, Window
from examples.bert.squad import Question

_ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
# About as many questions are converted in the time that it takes to start a process.
_WORTH_A_PROCESS = 2000
_CHUNK = 100
# Chunks in work or waiting to be fetched, for each process.
_AHEAD = 4

Chunk = Tuple[int, List[Question]]


def convert(questions: Sequence[Question], reader: Reader,
            processes: int) -> Generator[Tuple[int, List[Window]], None, None]:
    """Convert questions.

    Args:
      questions: those about one paragraph come one after the other.
      reader: what converts them.
      processes: how many processes to use at most; few questions need no second one.

    Yields:
      (number of questions, their windows), in order.

    Raises:
      UserError: what `reader` says about the first question that cannot be converted.
    """
    chunks = chunks_of(questions)
    processes = min(processes, len(chunks), 1 + len(questions) // _WORTH_A_PROCESS)
    if processes <= 1:
        for first, part in chunks:
            yield len(part), reader.windows(part, first)
        return
    helpers: List[_Helper] = []
    idle: "queue.Queue[_Helper]" = queue.Queue()

    def convert_one(chunk: Chunk) -> Tuple[int, List[Window]]:
        helper = idle.get()
        try:
            return len(chunk[1]), helper.windows(chunk)
        finally:
            idle.put(helper)

    try:
        for _ in range(processes):
            helpers.append(_Helper(reader))
            idle.put(helpers[-1])
        with ThreadPoolExecutor(processes) as pool:
            waiting: Deque[Future] = collections.deque()
            for chunk in chunks:
                waiting.append(pool.submit(convert_one, chunk))
                if len(waiting) == _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        for helper in helpers:
            helper.end()


def chunks_of(questions: Sequence[Question]) -> List[Chunk]:
    """(index of the first, questions) of parts of about equal size; no paragraph is in two."""
    chunks: List[Chunk] = []
    for index, question in enumerate(questions):
        if not chunks or (len(chunks[-1][1]) >= _CHUNK
                          and question.paragraph is not questions[index - 1].paragraph):
            chunks.append((index, []))
        chunks[-1][1].append(question)
    return chunks


class _Helper:
    """A process that converts what it is sent."""

    def __init__(self, reader: Reader):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=_ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        self._unsent: List[Any] = [reader]

    def windows(self, chunk: Chunk) -> List[Window]:
        """The windows of a chunk."""
        self._unsent.append(chunk)
        while self._unsent:
            self._send(self._unsent.pop(0))
        try:
            result = pickle.load(self._pipe(self._process.stdout))
        except (EOFError, pickle.UnpicklingError):
            raise self._ended() from None
        if isinstance(result, UserError):
            raise result
        return result

    def end(self) -> None:
        """End the process, which has nothing to do."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # It ended before it had read everything.
                self._pipe(pipe).close()

    def _send(self, value: Any) -> None:
        pipe = self._pipe(self._process.stdin)
        try:
            pickle.dump(value, pipe, pickle.HIGHEST_PROTOCOL)
            pipe.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> RuntimeError:
        return RuntimeError("a process that converts questions ended with code {}; see its output "
                            "above".format(self._process.wait()))

    @staticmethod
    def _pipe(pipe: Any) -> BinaryIO:
        return pipe


def _serve() -> None:
    """Convert the chunks that come in, until no more do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that sends them.
    incoming, outgoing = sys.stdin.buffer, open(sys.stdout.fileno(), "wb", closefd=False)
    # What is suppressed is how the end of the other process shows.
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
        reader = pickle.load(incoming)
        while True:
            first, questions = pickle.load(incoming)
            try:
                result = reader.windows(questions, first)
            except UserError as error:
                result = error
            pickle.dump(result, outgoing, pickle.HIGHEST_PROTOCOL)
            outgoing.flush()


if __name__ == "__main__":
    _serve()
