# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pass `place`: every operation gets the device that the plan means for it.

What belongs to a stage sits on the stage's device of its clone; the input pipeline, and what the
script pinned to the CPU, on the worker's first CPU device. State (a variable, a table) is on one
device, which all clones use, and what works on it in place, or is colocated with it, is there too:
rows of an embedding travel, not tables.
"""

from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf

from epl import compat
from epl.ir import editor
from epl.ir.ownership import Ownership
from epl.plan.layout import Device
from epl.plan.parallel_plan import ParallelPlan
from epl.rewrite import op_traits
from epl.rewrite.clones import CloneId

HOST = "/device:CPU:0"


def balance_by_size(sizes: Sequence[int], num_devices: int) -> List[int]:
    """Divide things of these sizes evenly over devices.

    Returns:
      The device of each: the largest first, each to the device with the least so far.
    """
    loads = [0] * num_devices
    chosen = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        device = loads.index(min(loads))
        chosen[index] = device
        loads[device] += sizes[index]
    return chosen


class Devices:
    """The devices of one worker, and who sits where.

    With one device in all nothing is placed: every operation keeps the device that the script gave
    it. Where workers hold replicas together, it is the devices of all of them, and every name says
    whose they are.

    Attributes:
      several: operations are placed.
      leader: the worker that has what nobody places, as a part of a device's name; "" where
        replicas lie on one worker each.
    """

    def __init__(self, plan: ParallelPlan, worker: int, device_type: str, ownership: Ownership,
                 offload: bool = False):
        self._plan, self._ownership, self._offload = plan, ownership, offload
        self._kind = device_type.upper()
        self._worker = worker
        self._replicas = plan.replicas_of(worker)
        self._chosen: Dict[Tuple[Any, int, int], str] = {}
        self._of_stage: Dict[Tuple[int, int, int], str] = {}
        self._placed: Set[Any] = set()
        self.several = plan.devices_per_worker > 1
        self.leader = "" if plan.teams is None else task_name(plan.teams.members(worker)[0])

    def names(self) -> List[str]:
        """All devices of the worker that operations are placed on; none if it has one only."""
        if not self.several:
            return []
        return [self._name(Device(self._worker, index))
                for index in range(self._plan.devices_per_worker)]

    def _name(self, device: Device) -> str:
        real = self._plan.real(device)
        return "{}/device:{}:{}".format(
            "" if self._plan.teams is None else task_name(real.worker), self._kind, real.index)

    def _host(self, stage: int, clone: CloneId) -> str:
        """The CPU of the worker that has a stage of a clone."""
        device = self._plan.real(self._plan.device_of(clone.replica, stage, clone.slice))
        return HOST if self._plan.teams is None else task_name(device.worker) + HOST

    def _complete(self, device: str, stage: int, clone: CloneId) -> str:
        """A device that the script chose, with the worker whose it is."""
        if self._plan.teams is None or tf.DeviceSpec.from_string(device).job is not None:
            return device
        return self._host(stage, clone)

    def of_stage(self, stage: int, clone: CloneId) -> str:
        """The device of a stage of a clone; "" if there is one device only."""
        if not self.several:
            return ""
        key = (stage, clone.replica, clone.slice)
        if key not in self._of_stage:
            device = self._plan.device_of(clone.replica, stage, clone.slice)
            self._of_stage[key] = self._name(device)
        return self._of_stage[key]

    def assign(self, variables: Iterable[Any], stage_of: Any) -> None:
        """Choose the devices of variables: those of their stage, balanced by size, or the host.

        Args:
          variables: those that have a device keep it; a variable that is colocated with another
            one follows it, one that the script pinned to the CPU stays there.
          stage_of: `op` -> stage.
        """
        by_stage: Dict[int, List[Any]] = {}
        for variable in variables:
            op = compat.variable_key(variable)
            if any(t is not op for t in compat.colocated_with(op)) or self._ownership.device(op):
                continue
            if self._is_pinned(op):
                self._ownership.put(op, self._complete(
                    op.device, stage_of(op), CloneId(self._replicas[0], 0, 0)))
            elif self._offload:
                self._ownership.put(op, HOST)
            else:
                by_stage.setdefault(stage_of(op), []).append(variable)
        for stage, members in sorted(by_stage.items()):
            devices = self._stage_devices(stage)
            sizes = [(v.shape.num_elements() or 1) * v.dtype.base_dtype.size for v in members]
            for variable, number in zip(members, balance_by_size(sizes, len(devices))):
                self._ownership.put(compat.variable_key(variable), devices[number])

    def _stage_devices(self, stage: int) -> List[str]:
        found = [self.of_stage(stage, CloneId(replica, 0, piece))
                 for replica in self._replicas for piece in range(self._plan.num_slices)]
        return sorted(set(found), key=found.index)

    def state_device(self, op: Any, follow: bool = True) -> Optional[str]:
        """Where the state lives that `op` holds or works on; None if it needs none at hand.

        Args:
          op: an operation of the script.
          follow: also if TensorFlow merely colocates `op` with a variable, as it does with the
            gather of an embedding lookup.
        """
        origin = self._origin(op)
        if origin is None and follow:
            origin = next((t for t in compat.colocated_with(op) if op_traits.is_variable(t)), None)
        if origin is None:
            return None
        found = self._ownership.device(origin) or origin.device or HOST
        return found if "/job:" in found else self.leader + found

    def placed(self, op: Any) -> bool:
        """True if one of the script's operations has its device from here, not from the script."""
        return op in self._placed

    def _is_pinned(self, op: Any) -> bool:
        """True if the script itself put `op` on the CPU."""
        return op not in self._placed and pinned_to_cpu(op)

    def _origin(self, op: Any) -> Optional[Any]:
        handle = next((t for t in op.inputs if op_traits.is_handle(t)), None)
        origin = op if handle is None else op_traits.handle_origin(handle)
        if not op_traits.owns_state(origin):
            return None
        return next((t for t in compat.colocated_with(origin) if op_traits.is_variable(t)), origin)

    def choose(self, op: Any, stage: int, clone: CloneId, backward: bool) -> str:
        """The device of what stands for `op` in `clone`.

        Args:
          op: an operation of the script.
          stage: its stage.
          clone: the clone.
          backward: `op` computes gradients. Those of a variable's rows stay with the stage, though
            TensorFlow colocates them with the variable: they are summed before they travel.
        """
        if not self.several:
            return op.device
        key = (op, clone.replica, clone.slice)  # the same for all micro-batches
        if key not in self._chosen:
            self._chosen[key] = self._choice(op, stage, clone, backward)
        return self._chosen[key]

    def _choice(self, op: Any, stage: int, clone: CloneId, backward: bool) -> str:
        if self._is_pinned(op):
            return self._complete(op.device, stage, clone)
        of_state = self.state_device(op, follow=not backward)
        if of_state is not None:
            return of_state
        if self._kind == "GPU" and not compat.runs_on_gpu(op):
            return self._host(stage, clone)
        return self.of_stage(stage, clone)

    def keep_state_on_host(self, ops: Iterable[Any]) -> None:
        """With one device: what is state, or works on it, is on the host; nothing else is placed.

        Args:
          ops: operations of the script; those that it has placed itself stay where they are.
        """
        for op in ops:
            if not op.device and self.state_device(op) == HOST:
                self._placed.add(op)
                editor.put_on(op, HOST)

    def place(self, op: Any, stage: int, clone: CloneId, backward: bool) -> None:
        """Place one of the script's own operations."""
        if not self.several:
            return
        chosen = self.choose(op, stage, clone, backward)
        if op.device != chosen:
            self._placed.add(op)
            of_state = self.state_device(op, follow=not backward)
            if of_state is None or any(self.state_device(t) != of_state
                                       for t in compat.colocated_with(op)):
                # It may be colocated with one of another stage, as a tf.cond's inputs are, and
                # what takes an update into a loop, to wait for it, with what the loop works on.
                editor.forget_colocation(op)
            editor.put_on(op, chosen)


def task_name(worker: int) -> str:
    """TensorFlow's name of a worker's process, as a part of a device's name."""
    return "/job:worker/replica:0/task:{}".format(worker)


def pinned_to_cpu(op: Any) -> bool:
    """True if the device of `op` is a CPU."""
    return bool(op.device) and tf.DeviceSpec.from_string(op.device).device_type == "CPU"
