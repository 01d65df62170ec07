# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The plan of a job: which replica's stage sits where, and in which order it runs what.

    replica ─┬─ stage ─── devices            a stage with k devices runs num_slices/k slices of
             └─ stage ─── devices            every micro-batch on each of them

A clone of the model computes one slice of one micro-batch of one replica.
"""

from fractions import Fraction
from functools import reduce
from math import gcd
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from epl.errors import ConfigError, nearest
from epl.plan import schedules
from epl.plan.action import (
    BACKWARD,
    FORWARD,
    INPUT_GRADIENTS,
    KINDS,
    WEIGHT_GRADIENTS,
    Action,
)
from epl.plan.drawing import draw
from epl.plan.layout import Device, Placement, Slices, lay_out
from epl.plan.simulator import Simulation, Times, simulate
from epl.plan.teams import Fold, fold, spans

_REDUCE_METHODS = ("mean", "sum")
# Kinds of actions that the rewrite has operations for, and what goes with what on a stage.
_CARRIED_OUT = ((FORWARD, BACKWARD), (FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS))


class ParallelPlan(NamedTuple):
    """What the rewrite carries out; immutable, the same on every worker.

    Where replicas lie on several workers, these count as one: `teams` says who they are.

    Attributes:
      num_workers: processes in the job, or teams of them.
      devices_per_worker: devices of each.
      stage_names: one name per stage.
      device_counts: devices that each stage of a replica has.
      placements: every stage of every replica, in that order.
      num_micro_batch: micro-batches per replica and step.
      reduce_method: "mean" or "sum" over slices, micro-batches and replicas.
      schedule: name of the order of forwards and backwards.
      actions: what every device of a replica does, in that order; the same in all replicas. (All
        devices that share the rows of a stage count as one.)
      teams: whose devices are those of each team; None: every replica lies on one worker.
    """

    num_workers: int
    devices_per_worker: int
    stage_names: Tuple[str, ...]
    device_counts: Tuple[int, ...]
    placements: Tuple[Placement, ...]
    num_micro_batch: int
    reduce_method: str
    schedule: str
    actions: Tuple[Tuple[Action, ...], ...]
    teams: Optional[Fold] = None

    @property
    def num_stages(self) -> int:
        return len(self.stage_names)

    @property
    def num_replicas(self) -> int:
        return len(self.placements) // self.num_stages

    @property
    def num_slices(self) -> int:
        """Parts of equal size into which every micro-batch is cut along axis 0."""
        return reduce(lambda a, b: a * b // gcd(a, b), self.device_counts)

    @property
    def is_single_device(self) -> bool:
        """Every worker runs exactly one clone, on its only device."""
        return (self.num_stages, self.num_micro_batch, self.num_slices,
                self.devices_per_worker) == (1, 1, 1, 1)

    @property
    def kinds(self) -> Tuple[str, ...]:
        """The kinds of actions that there are, in the order of `action.KINDS`."""
        listed = {action.kind for own in self.actions for action in own}
        return tuple(kind for kind in KINDS if kind in listed)

    @property
    def columns(self) -> Tuple[Tuple[int, ...], ...]:
        """The stages of every device of a replica."""
        return columns_of(self.actions)

    @property
    def devices_per_replica(self) -> int:
        """How many devices a replica takes."""
        return sum(self.device_counts[column[0]] for column in self.columns)

    def actions_of(self, stage: int) -> Tuple[Action, ...]:
        """What is done for one stage, in that order."""
        own = next(own for own, column in zip(self.actions, self.columns) if stage in column)
        return tuple(action for action in own if action.stage == stage)

    def splits_backward(self, stage: int) -> bool:
        """True if the gradients of a stage's weights are an action of their own."""
        return any(action.kind == WEIGHT_GRADIENTS for action in self.actions_of(stage))

    def replicas_of(self, worker: int) -> Tuple[int, ...]:
        """The replicas all of whose devices are on `worker`."""
        elsewhere = {p.replica for p in self.placements
                     if any(device.worker != worker for device in p.devices)}
        return tuple(r for r in range(self.num_replicas) if r not in elsewhere)

    def clones_per_worker(self, worker: int) -> int:
        """CloneMap of the model that `worker` runs in a step."""
        return len(self.replicas_of(worker)) * self.num_micro_batch * self.num_slices

    def device_of(self, replica: int, stage: int, slice_index: int) -> Device:
        """Where a stage of a replica runs a slice of every micro-batch.

        A device runs neighbouring slices, so that its rows lie together.

        Raises:
          IndexError: no such replica, stage or slice.
        """
        for what, index, count in (("replica", replica, self.num_replicas),
                                   ("stage", stage, self.num_stages),
                                   ("slice", slice_index, self.num_slices)):
            if not 0 <= index < count:
                raise IndexError("{} {} of {}".format(what, index, count))
        devices = self.placements[replica * self.num_stages + stage].devices
        return devices[slice_index * len(devices) // self.num_slices]

    def real(self, device: Device) -> Device:
        """A device of the plan as (worker, index) of the job."""
        return device if self.teams is None else self.teams.real(device)

    def simulate(self, times: Optional[Times] = None) -> Simulation:
        """A step of one replica without transfer times; `times` as of `simulator.simulate`."""
        return simulate(self.actions, times)

    def describe(self) -> str:
        """The plan as a table for people; `epl.explain()` prints it.

        The text depends on nothing but the plan, so that workers can compare it.
        """
        lines = _summary(self) + _table(self)
        if self.num_stages > 1 or self.num_micro_batch > 1:
            lines += _timetable(self)
        return "\n".join(lines)


def make_plan(stages: Sequence[Tuple[str, int]], num_workers: int, devices_per_worker: int,
              num_micro_batch: int = 1, reduce_method: str = "mean",
              schedule: str = "preferbackward", prefer_intra_node: bool = True,
              slices: Optional[Slices] = None, num_chunks: int = 1) -> ParallelPlan:
    """Lay the model out over the devices.

    Args:
      stages: (name, device_count) of each TaskGraph; at least one. Without a name, a stage is
        called by its number, and the only one "model".
      num_workers: processes in the job.
      devices_per_worker: devices of each.
      num_micro_batch: micro-batches per replica and step.
      reduce_method: "mean" or "sum".
      schedule: a name out of `schedules.NAMES`.
      prefer_intra_node: fill the devices of one worker before those of the next.
      slices: the devices of each stage, as the script chose them; None: see `lay_out`.
      num_chunks: stages on each device of a replica; which ones, says the schedule.

    Raises:
      ValueError: no stage.
      ConfigError: a number or a name that cannot be used, too few devices for a replica, or some
        left over; a schedule that cannot run.
      NotImplementedError: a layout or a schedule that this version cannot run, with the cure.
    """
    if not stages:
        raise ValueError("a plan needs one stage or more; call epl.set_default_strategy("
                         "epl.replicate(device_count=1)) before the model is built")
    for what, value in [("num_workers", num_workers), ("devices_per_worker", devices_per_worker),
                        ("num_micro_batch", num_micro_batch),
                        ("pipeline.num_chunks", num_chunks)] + [
                            ("device_count", count) for _, count in stages]:
        if value < 1:
            raise ConfigError("{} = {}: use 1 or more".format(what, value))
    if reduce_method not in _REDUCE_METHODS:
        raise ConfigError("reduce_method = {!r} is not one of {}; {}".format(
            reduce_method, list(_REDUCE_METHODS), nearest(str(reduce_method), _REDUCE_METHODS)))
    if len(stages) % num_chunks:
        raise ConfigError(
            "pipeline.num_chunks = {} puts so many stages on every device, but the model has {}: "
            "use a number of stages that is a multiple of {}, or leave the key out".format(
                num_chunks, len(stages), num_chunks))
    if slices is not None and num_chunks > 1:
        raise ConfigError("with pipeline.num_chunks = {} the schedule chooses the devices of "
                          "stages: leave out the cluster's layout, or pipeline.num_chunks".format(
                              num_chunks))
    shape = schedules.Shape(len(stages), num_micro_batch, num_chunks)
    actions = schedules.actions_of(schedule, shape)
    schedule = schedules.NAMES[schedule]
    _check_carried_out(schedule, actions)
    device_counts = tuple(count for _, count in stages)
    columns = columns_of(actions)
    placements = lay_out(
        device_counts, num_workers, devices_per_worker, prefer_intra_node, slices, columns)
    teams = fold(placements, num_workers) if spans(placements) else None
    if teams is not None:
        num_workers, devices_per_worker = len(teams.seats), len(teams.seats[0])
        placements = lay_out(device_counts, num_workers, devices_per_worker, columns=columns)
    return ParallelPlan(
        num_workers, devices_per_worker, _names(stages), device_counts, placements,
        num_micro_batch, reduce_method, schedule, actions, teams)


def columns_of(actions: Sequence[Sequence[Action]]) -> Tuple[Tuple[int, ...], ...]:
    """The stages of every device, from what it does."""
    return tuple(tuple(sorted({action.stage for action in own})) for own in actions)


def _check_carried_out(schedule: str, actions: Tuple[Tuple[Action, ...], ...]) -> None:
    """Raises NotImplementedError where the rewrite cannot make a graph do this yet."""
    for device, own in enumerate(actions):
        first = Action(FORWARD, own[0].stage, 0)
        if own[0] != first:
            raise NotImplementedError(
                "pipeline.strategy = {!r} lets device {} begin with {}: the operations of "
                "micro-batch 0 are the script's own, which run outside of steps too and can wait "
                "for no other; let it begin with {}".format(schedule, device, own[0], first))
    kinds: Dict[int, Set[str]] = {}
    for action in (action for own in actions for action in own):
        kinds.setdefault(action.stage, set()).add(action.kind)
    for stage, found in sorted(kinds.items()):
        if not any(found == set(able) for able in _CARRIED_OUT):
            raise NotImplementedError(
                "pipeline.strategy = {!r} lists actions of the kinds {} for stage {}: this version "
                "of EPL runs those of {}; choose another schedule, such as 'preferbackward'".format(
                    schedule, _and(sorted(found)), stage, ", or of ".join(map(_and, _CARRIED_OUT))))


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _names(stages: Sequence[Tuple[str, int]]) -> Tuple[str, ...]:
    if len(stages) == 1:
        return (stages[0][0] or "model",)
    return tuple(name or "stage {}".format(i) for i, (name, _) in enumerate(stages))


def _summary(plan: ParallelPlan) -> List[str]:
    workers, devices = plan.num_workers, plan.devices_per_worker
    if plan.teams is not None:
        members = len(plan.teams.members(0))
        workers, devices = workers * members, devices // members
    lines = [
        "{} worker(s) x {} device(s), {} model replica(s) x {} stage(s), {} micro-batch(es) "
        "per step".format(workers, devices, plan.num_replicas, plan.num_stages,
                          plan.num_micro_batch),
        "global batch = script's batch x {} micro-batch(es) x {} replica(s); gradients: {}"
        .format(plan.num_micro_batch, plan.num_replicas, plan.reduce_method),
    ]
    if plan.teams is not None:
        lines += ["workers {} hold replica(s) {} together; worker {} leads them".format(
            " ".join(map(str, plan.teams.members(team))),
            " ".join(map(str, plan.replicas_of(team))), plan.teams.members(team)[0])
            for team in range(plan.num_workers)]
    if plan.num_slices > 1:
        lines.append("every micro-batch is cut along axis 0 into {} slices".format(
            plan.num_slices))
    return lines


def _table(plan: ParallelPlan) -> List[str]:
    """A row per placement; devices as worker:device."""
    rows = [("worker:device", "name")] + [
        (" ".join("{}:{}".format(*plan.real(device)) for device in p.devices),
         plan.stage_names[p.stage])
        for p in plan.placements]
    width = max(len(devices) for devices, _ in rows)
    numbers = [("replica", "stage")] + [(str(p.replica), str(p.stage)) for p in plan.placements]
    return ["{:>8} {:>6}  {:<{}}  {}".format(replica, stage, devices, width, name)
            for (replica, stage), (devices, name) in zip(numbers, rows)]


def _timetable(plan: ParallelPlan) -> List[str]:
    """The schedule as it would run; the times are an assumption, the order is the plan's."""
    simulation = plan.simulate(dict.fromkeys(plan.kinds, Fraction(1)))
    share = simulation.bubble_share
    halves = any(plan.splits_backward(stage) for stage in range(plan.num_stages))
    shared = len(plan.actions) < plan.num_stages
    return [
        "schedule {} (assumed: {}, transfers take no time):".format(
            plan.schedule, "all actions take the same time" if halves
            else "backward time = forward time"),
        "bubble: {} = {:.1f} % of the {}' time".format(
            share, 100 * float(share), "devices" if shared else "stages"),
        "micro-batches in flight at most, by {}: {}".format(
            "device, once for each of its stages" if shared else "stage",
            ", ".join(map(str, simulation.peak_in_flight))),
        draw(simulation),
    ]
