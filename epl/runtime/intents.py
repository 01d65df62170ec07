# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers came for when they meet, and what becomes of them if that is not the same."""

import sys
from typing import List, NamedTuple, Sequence

import tensorflow.compat.v1 as tf

from epl.errors import ConfigError, WorkerLostError
from epl.runtime.shared_feeds import Shown, difference

CREATION = "create a training session"
END_OF_TRAINING = "end a training session"
END_OF_SCRIPT = "end its script"
READ = "read variables of which each worker holds some rows"
RELEASE = "close a session that holds what other workers do not"


class Intent(NamedTuple):
    """What a worker came for, as the others are told when they came for something else.

    Attributes:
      what: in words.
      asked: it ends a training session because hooks or threads there have asked for it.
      fed: what its step is fed that has to be the same on all workers.
      can_end: it is about to run a step in a monitored session, which can end instead; or to close
        that session.
    """

    what: str
    asked: bool = False
    can_end: bool = False
    fed: Sequence[Shown] = ()


def all_can_end(wanted: List[Intent]) -> bool:
    """True if hooks have ended the training of some, and that of the others can end as well."""
    return any(i.asked for i in wanted) and all(
        i.can_end or i.what == END_OF_TRAINING for i in wanted)


def ended_by_others(wanted: List[Intent]) -> tf.errors.OutOfRangeError:
    who = ", ".join(str(index) for index, intent in enumerate(wanted) if intent.asked)
    message = ("training ends here on all workers, as a hook of worker {} asked for it "
               "(run_context.request_stop(), or a coordinator's); epl.request_stop() asks on all "
               "workers".format(who))
    sys.stderr.write("epl: {}\n".format(message))
    return tf.errors.OutOfRangeError(None, None, message)


def different(wanted: List[Intent]) -> Exception:
    """The error for workers that came for different things."""
    if len({intent.what for intent in wanted}) == 1:
        return ConfigError(difference([intent.fed for intent in wanted]))
    lines = ["worker {}: {}".format(index, intent.what + (
        ", as its hooks asked for it (run_context.request_stop())" if intent.asked else ""))
        for index, intent in enumerate(wanted)]
    cure = ("Every worker has to run the same steps in the same order: give all the same number of "
            "batches, do not train under 'if worker_index == 0', and let threads that train take "
            "turns in an order that all keep")
    if END_OF_TRAINING in [intent.what for intent in wanted]:
        cure += ("; to end training from one worker, call epl.request_stop(), which stops all "
                 "after the same step")
    elif CREATION in [intent.what for intent in wanted]:
        cure += ("; to evaluate on one worker, name the checkpoint (checkpoint_filename_with_path) "
                 "instead of its directory")
    return WorkerLostError("the workers are about to do different things:\n  {}\n{}".format(
        "\n  ".join(lines), cure))
