# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the actions of a step wait for, and whether they can all run.

    device 0   F0 F1 B0 B1        what runs first, second, ...:   F0 of device 0
    device 1   F0 B0 F1 B1                                        F1 of device 0, F0 of device 1 ...

A device runs its actions one after the other; an action waits for what its kind needs
(`action.KINDS`), on whatever device that is.
"""

from typing import Container, Dict, List, NamedTuple

from epl.errors import nearest
from epl.plan.action import KINDS, MADE_ONCE, Action, Actions, makers

_Devices = Dict[Action, int]  # the device of every action


class Turn(NamedTuple):
    """An action, where it runs, and what must have run before."""

    device: int
    action: Action
    needs: List[Action]


def turns(actions: Actions) -> List[Turn]:
    """All actions, each behind those that it waits for.

    Raises:
      ValueError: something that is no action, an action that is listed twice, or actions that wait
        for each other or for one that nobody runs.
    """
    devices = _devices(actions)
    num_stages = stage_count(actions)
    done = [0] * len(actions)
    ran: Dict[Action, None] = {}
    found: List[Turn] = []
    going_on = True
    while going_on:
        going_on = False
        for device, own in enumerate(actions):
            while done[device] < len(own):
                action = own[done[device]]
                needs = needs_of(action, devices, num_stages)
                if any(need not in ran for need in needs):
                    break
                found.append(Turn(device, action, needs))
                ran[action] = None
                done[device] += 1
                going_on = True
    if len(found) < len(devices):
        raise ValueError("the actions cannot all run: " + "; ".join(
            _waiting(device, own[done[device]], ran, devices, num_stages)
            for device, own in enumerate(actions) if done[device] < len(own)))
    return found


def stage_count(actions: Actions) -> int:
    """How many stages the actions are of."""
    return 1 + max((action.stage for own in actions for action in own), default=-1)


def check_step(actions: Actions, num_stages: int, num_micro_batch: int) -> None:
    """See that the actions are one training step.

    Raises:
      ValueError: as `turns`; or a stage or micro-batch that does not exist, a stage on two devices,
        or something that is made twice or not at all.
    """
    devices = _devices(actions)
    homes: Dict[int, int] = {}
    for action, device in devices.items():
        if not (0 <= action.stage < num_stages and 0 <= action.micro_batch < num_micro_batch):
            raise ValueError("device {} lists {}, but there are {} stage(s) and {} micro-batch(es)"
                             .format(device, action, num_stages, num_micro_batch))
        home = homes.setdefault(action.stage, device)
        if home != device:
            raise ValueError("device {} lists {}, but device {} has that stage: a stage stays on "
                             "one device, where its variables are".format(device, action, home))
    for stage in range(num_stages):
        for micro_batch in range(num_micro_batch):
            _check_made(stage, micro_batch, devices)
    turns(actions)


def _check_made(stage: int, micro_batch: int, devices: _Devices) -> None:
    """Everything is made once for a micro-batch on a stage."""
    for what in MADE_ONCE:
        able = makers(what, stage, micro_batch)
        listed = [action for action in able if action in devices]
        if not listed:
            raise ValueError("no device lists {}".format(" or ".join(map(str, able))))
        if len(listed) > 1:
            raise ValueError("{} are both listed, and both make the {}".format(
                " and ".join(map(str, listed)), what))


def _devices(actions: Actions) -> _Devices:
    """The device of every action."""
    found: _Devices = {}
    for device, own in enumerate(actions):
        for action in own:
            if not isinstance(action, Action):
                raise ValueError("device {} lists {!r}, which is no epl.plan.action.Action".format(
                    device, action))
            if action.kind not in KINDS:
                raise ValueError("device {} lists an action of kind {!r}; {}".format(
                    device, action.kind, nearest(str(action.kind), KINDS)))
            if action in found:
                raise ValueError("{} is listed twice, by device {} and device {}".format(
                    action, found[action], device))
            found[action] = device
    return found


def needs_of(action: Action, listed: Container[Action], num_stages: int) -> List[Action]:
    """What `action` waits for, if a step consists of `listed`."""
    found = []
    for need in KINDS[action.kind].needs:
        stage = action.stage + need.neighbour
        if 0 <= stage < num_stages:
            able = makers(need.what, stage, action.micro_batch)
            found.append(([a for a in able if a in listed] or able[:1])[-1])
    return found


def _waiting(device: int, action: Action, ran: Dict[Action, None], devices: _Devices,
             num_stages: int) -> str:
    """Why a device stands still before `action`."""
    need = next(n for n in needs_of(action, devices, num_stages) if n not in ran)
    return "device {} waits before {} for {}, {}".format(
        device, action, need, "which device {} runs later".format(devices[need])
        if need in devices else "which no device lists")
