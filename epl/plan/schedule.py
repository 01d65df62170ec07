# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The order in which every stage runs the forwards and backwards of its micro-batches.

A schedule is a pure function of (stage, number of stages, number of micro-batches). The tables
below are for 3 stages and 5 micro-batches, a forward and a backward taking one column each: Fi is
the forward of micro-batch i, Bi its backward, a dot an idle stage. "In flight" are the
micro-batches whose forward has begun and whose backward has not ended: their activations are in
memory.

The three take the same time, (micro-batches + stages - 1) x (forward + backward); they differ in
what they hold in memory.
"""

from typing import Callable, Dict, List, NamedTuple

from epl.errors import ConfigError, nearest

FORWARD = "forward"
BACKWARD = "backward"


class Task(NamedTuple):
    """One phase of one micro-batch on one stage.

    Attributes:
      phase: FORWARD or BACKWARD.
      micro_batch: 0-based.
    """

    phase: str
    micro_batch: int


Schedule = Callable[[int, int, int], List[Task]]


# stage 0 | F0 F1 F2 F3 F4 .  .  .  .  B0 B1 B2 B3 B4
# stage 1 | .  F0 F1 F2 F3 F4 .  .  B0 B1 B2 B3 B4 .
# stage 2 | .  .  F0 F1 F2 F3 F4 B0 B1 B2 B3 B4 .  .
#
# In flight at most: 5, 5, 5.
def prefer_forward(stage: int, num_stages: int, num_micro_batch: int) -> List[Task]:
    """All forwards, then all backwards.

    Holds all micro-batches in flight. The order of GPipe (arXiv:1811.06965).

    Args:
      stage: 0-based.
      num_stages: stages of the pipeline.
      num_micro_batch: micro-batches per step.

    Returns:
      The tasks of `stage` in the order in which it runs them.

    Raises:
      ValueError: a stage that is not among the stages, or no micro-batch.
    """
    _check(stage, num_stages, num_micro_batch)
    return _alternate(num_micro_batch, num_micro_batch)


# stage 0 | F0 F1 F2 .  .  B0 F3 B1 F4 B2 .  B3 .  B4
# stage 1 | .  F0 F1 .  B0 F2 B1 F3 B2 F4 B3 .  B4 .
# stage 2 | .  .  F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 .  .
#
# In flight at most: 3, 2, 1.
def prefer_backward(stage: int, num_stages: int, num_micro_batch: int) -> List[Task]:
    """A backward as soon as there is one: one forward, one backward (1F1B).

    Holds at most `min(num_stages - stage, num_micro_batch)` micro-batches in flight, however many
    there are. The order of PipeDream-Flush (arXiv:2006.09503).

    Args, Returns, Raises: as `prefer_forward`.
    """
    _check(stage, num_stages, num_micro_batch)
    return _alternate(num_stages - stage - 1, num_micro_batch)


# stage 0 | F0 F1 F2 F3 .  .  B0 F4 B1 .  B2 .  B3 B4
# stage 1 | .  F0 F1 F2 .  B0 F3 B1 F4 B2 .  B3 B4 .
# stage 2 | .  .  F0 F1 B0 F2 B1 F3 B2 F4 B3 B4 .  .
#
# In flight at most: 4, 3, 2.
def prefer_backward_optimizer(stage: int, num_stages: int, num_micro_batch: int) -> List[Task]:
    """As `prefer_backward`, with one micro-batch more in flight.

    A stage has the next forward at hand while it waits for a backward: slack for transfers that
    take time, paid for with one more micro-batch in memory.

    Args, Returns, Raises: as `prefer_forward`.
    """
    _check(stage, num_stages, num_micro_batch)
    return _alternate(num_stages - stage, num_micro_batch)


SCHEDULES: Dict[str, Schedule] = {
    "preferforward": prefer_forward,
    "preferbackward": prefer_backward,
    "preferbackwardoptimizer": prefer_backward_optimizer,
}


def get_schedule(name: str) -> Schedule:
    """The schedule called `name`, a value of the configuration key `pipeline.strategy`.

    Raises:
      ConfigError: an unknown name.
    """
    if name not in SCHEDULES:
        raise ConfigError("pipeline.strategy = {!r} is not one of {}; {}".format(
            name, sorted(SCHEDULES), nearest(str(name), SCHEDULES)))
    return SCHEDULES[name]


def _alternate(warm_up: int, num_micro_batch: int) -> List[Task]:
    """`warm_up` forwards (or all), then forward and backward in turn, then what is left."""
    warm_up = min(warm_up, num_micro_batch)
    tasks = [Task(FORWARD, m) for m in range(warm_up)]
    for m in range(warm_up, num_micro_batch):
        tasks += [Task(FORWARD, m), Task(BACKWARD, m - warm_up)]
    return tasks + [Task(BACKWARD, m) for m in range(num_micro_batch - warm_up, num_micro_batch)]


def _check(stage: int, num_stages: int, num_micro_batch: int) -> None:
    if not 0 <= stage < num_stages:
        raise ValueError("stage = {} of {} stage(s): use 0 to {}".format(
            stage, num_stages, num_stages - 1))
    if num_micro_batch < 1:
        raise ValueError("num_micro_batch = {}: use 1 or more".format(num_micro_batch))
