# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules by name: what the configuration key `pipeline.strategy` may say."""

from functools import lru_cache
from typing import Callable, Dict, NamedTuple, Sequence, Tuple, Union

from epl.errors import ConfigError, nearest
from epl.plan.action import Action, Actions
from epl.plan.dependencies import check_step


class Shape(NamedTuple):
    """What a schedule is asked for.

    Attributes:
      num_stages: stages of the pipeline.
      num_micro_batch: micro-batches per step.
      stages_per_device: how many stages each device has; which ones is up to the schedule. (All
        devices that share the rows of a stage count as one.)
    """

    num_stages: int
    num_micro_batch: int
    stages_per_device: int = 1

    @property
    def num_devices(self) -> int:
        """Devices of one replica."""
        return self.num_stages // self.stages_per_device


Schedule = Callable[[Shape], Actions]

AUTO = "auto"  # EPL chooses one of the others when it knows the graph

NAMES: Dict[str, str] = {}  # every name -> the first of the names of the same schedule
_SCHEDULES: Dict[str, Schedule] = {}


def register(name: str, schedule: Schedule, aliases: Sequence[str] = (),
             replace: bool = False) -> None:
    """Let `pipeline.strategy` have a further value.

    Call it before the `epl.Config` is made that names it, on every worker.

    Args:
      name: how plans and messages call the schedule; case does not matter.
      schedule: a function from a `Shape` to one list of `Action`s per device, in the order in which
        the device runs them. The same shape always gives the same lists.
      aliases: further names.
      replace: take names that stand for another schedule.

    Raises:
      TypeError: a name that is no text, or a schedule that cannot be called.
      ValueError: no name, or one that stands for another schedule.

    Examples:
      >>> from epl.plan import schedules
      >>> from epl.plan.action import BACKWARD, FORWARD, Action
      >>> def one_by_one(shape):
      ...     "A micro-batch goes forward and back before the next one begins."
      ...     return [[Action(kind, stage, m) for m in range(shape.num_micro_batch)
      ...              for kind in (FORWARD, BACKWARD)] for stage in range(shape.num_stages)]
      >>> schedules.register("OneByOne", one_by_one)
      >>> epl.Config({"pipeline.strategy": "OneByOne"}).pipeline.strategy
      'onebyone'
      >>> [each.label for each in one_by_one(schedules.Shape(num_stages=1, num_micro_batch=2))[0]]
      ['F0', 'B0', 'F1', 'B1']
    """
    given = [name, *aliases]
    for each in given:
        if not isinstance(each, str):
            raise TypeError("the name of a schedule is a text, not {!r}".format(each))
        if not each.strip():
            raise ValueError("a schedule needs a name, not {!r}".format(each))
    if not callable(schedule):
        raise TypeError("schedule {!r} is {!r}; give a function from an epl.plan.schedules.Shape "
                        "to the actions of every device".format(name, schedule))
    names = [each.lower() for each in given]
    for each in names:
        if each in NAMES and _SCHEDULES[NAMES[each]] is not schedule and not replace:
            raise ValueError("there is a schedule {!r} already; choose another name, or say "
                             "replace=True".format(each))
    _SCHEDULES[names[0]] = schedule
    NAMES.update(dict.fromkeys(names, names[0]))


def actions_of(name: str, shape: Shape) -> Tuple[Tuple[Action, ...], ...]:
    """The actions of every device under the schedule called `name`, checked.

    Raises:
      ValueError: a shape that cannot be.
      ConfigError: an unknown name, or actions that are no training step; the message says which
        action of which device, and what it waits for.
      NotImplementedError: the schedule is for another number of stages per device.
    """
    if name not in NAMES:
        raise ConfigError("pipeline.strategy = {!r} is not one of {}; {}".format(
            name, sorted(NAMES), nearest(str(name), NAMES)))
    for what, value in shape._asdict().items():
        if value < 1:
            raise ValueError("{} = {}: use 1 or more".format(what, value))
    if shape.num_stages % shape.stages_per_device:
        raise ValueError("num_stages = {} are no multiple of stages_per_device = {}".format(
            shape.num_stages, shape.stages_per_device))
    return _checked(NAMES[name], _SCHEDULES[NAMES[name]], shape)


@lru_cache(maxsize=32)
def _checked(name: str, schedule: Schedule, shape: Shape) -> Tuple[Tuple[Action, ...], ...]:
    try:
        actions = tuple(tuple(own) for own in schedule(shape))
    except ValueError as error:
        raise _impossible(name, shape, error) from None
    except Exception as error:  # a function of others, which may not count on such a shape
        raise _impossible(name, shape, "{}: {}".format(type(error).__name__, error)) from error
    if len(actions) != shape.num_devices:
        raise NotImplementedError(
            "pipeline.strategy = {!r} is for {} device(s), but {} stage(s) with {} on each are on "
            "{}; choose another schedule, such as 'preferbackward', or another "
            "pipeline.num_chunks".format(
                name, len(actions), shape.num_stages, shape.stages_per_device, shape.num_devices))
    try:
        check_step(actions, shape.num_stages, shape.num_micro_batch)
    except ValueError as error:
        raise _impossible(name, shape, error) from None
    return actions


def _impossible(name: str, shape: Shape, error: Union[ValueError, str]) -> ConfigError:
    return ConfigError("pipeline.strategy = {!r} cannot run {} micro-batch(es) on {} stage(s): {}"
                       .format(name, shape.num_micro_batch, shape.num_stages, error))
