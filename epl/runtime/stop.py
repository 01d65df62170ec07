# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A stop of training, asked for on any worker, carried out on all of them after the same step.

    worker 0   meet(step 7) | step 7 | meet(step 8, stop) | step 8 | save, end
    worker 1   meet(step 7) | step 7 | meet(step 8)       | step 8 | end
                        ^ SIGTERM or epl.request_stop() on worker 0

The wish travels with the meeting before the next step. What has been agreed holds for the rest of
the process: a training session that is made later ends before its first step.

SIGTERM is such a wish only while a monitored session trains under `epl-launch` and the script has
no handler of its own. At all other times, and when it comes a second time, it ends the process as
ever; the system sees to that itself, also while the main thread is inside TensorFlow.
"""

import contextlib
import ctypes
import os
import signal
import threading
from typing import Any, Iterator

from epl.context import Wish, Worker
from epl.env import Env
from epl.shared import progress

_sigterm = False  # it came while it was a wish; a signal is the process's

# As `signal`, but the system forgets the handler when it calls it.
_set_once = ctypes.CDLL(None).sysv_signal
_set_once.restype = ctypes.c_void_p
_set_once.argtypes = [ctypes.c_int, ctypes.c_void_p]


def request_stop() -> None:
    """Ask for the end of training, on all workers after the same step, the next but at most one.

    `MonitoredTrainingSession` and `tf.estimator` end as at the last step: the chief saves a
    checkpoint, `session.should_stop()` becomes true, the script goes on behind its loop. Training
    sessions that are made afterwards end before their first step. One worker's call is enough. A
    loop around a plain `tf.Session` is not stopped.

    Examples:
      >>> epl.init()
      >>> epl.set_default_strategy(epl.replicate(1))
      >>> weight = tf.get_variable("weight", [], initializer=tf.ones_initializer())
      >>> step = tf.train.get_or_create_global_step()
      >>> train = tf.train.GradientDescentOptimizer(0.1).minimize(weight * weight, step)
      >>> with tf.train.MonitoredTrainingSession() as session:
      ...     while not session.should_stop():
      ...         done = session.run([step, train])[0]
      ...         if done == 3:
      ...             epl.request_stop()
    """
    worker = Env.get().worker
    worker.wish = max(worker.wish, Wish.SCRIPT)


def wish(worker: Worker) -> Wish:
    """What `worker` asks for."""
    return Wish.SIGTERM if _sigterm else worker.wish


def sigterm_came() -> bool:
    """True after a SIGTERM that asks for a stop."""
    return _sigterm


def agree(worker: Worker, highest: int) -> None:
    """All workers have learned that the highest wish among them is `highest`."""
    worker.agreed = max(worker.agreed, Wish(highest))


def _on_sigterm(signum: int, frame: Any) -> None:
    del signum, frame
    global _sigterm
    _sigterm = True


def arm() -> None:
    """Let the next SIGTERM ask for a stop, if it would end the process and a launcher knows."""
    if not progress.is_reported() or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not _sigterm:
        signal.signal(signal.SIGTERM, _on_sigterm)
        handler = _set_once(signal.SIGTERM, None)  # what Python has given to the system
        _set_once(signal.SIGTERM, handler)
        progress.stops_at_sigterm(True)


def disarm() -> bool:
    """Let SIGTERM end the process again; returns True if that is a change."""
    if signal.getsignal(signal.SIGTERM) is not _on_sigterm \
            or threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    progress.stops_at_sigterm(False)
    return True


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """While a failure is dealt with, SIGTERM ends the process: there is nothing to be saved."""
    was_armed = disarm()
    try:
        yield
    finally:
        if was_armed:
            arm()


# A forked child is to die of SIGTERM as ever. One that comes while it is being born, when Python
# forgets signals, waits until it is disarmed.
_forking = threading.local()


def _before_fork() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child() -> None:
    disarm()
    _after_fork_in_parent()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent,
                    after_in_child=_after_fork_in_child)
