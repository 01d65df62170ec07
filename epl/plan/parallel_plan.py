# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The layout of a job: which replica's stage sits on which device, and who reduces with whom."""

from typing import NamedTuple, Sequence, Tuple


class Placement(NamedTuple):
    """One stage of one model replica on one device of one worker (all 0-based)."""

    replica: int
    stage: int
    worker: int
    device: int


class ParallelPlan(NamedTuple):
    """What the rewrite carries out; immutable, the same on every worker.

    Attributes:
      num_workers: processes in the job.
      devices_per_worker: devices of each.
      stage_names: one name per stage.
      placements: every (replica, stage), in replica order.
      num_micro_batch: micro-batches per replica and step.
      reduce_method: "mean" or "sum" over micro-batches and replicas.
    """

    num_workers: int
    devices_per_worker: int
    stage_names: Tuple[str, ...]
    placements: Tuple[Placement, ...]
    num_micro_batch: int
    reduce_method: str

    @property
    def num_stages(self) -> int:
        return len(self.stage_names)

    @property
    def num_replicas(self) -> int:
        return len(self.placements) // self.num_stages

    def describe(self) -> str:
        """The plan as a table for people; `epl.explain()` prints it."""
        lines = [
            "{} worker(s) x {} device(s), {} model replica(s) x {} stage(s), {} micro-batch(es) "
            "per step".format(self.num_workers, self.devices_per_worker, self.num_replicas,
                              self.num_stages, self.num_micro_batch),
            "global batch = script's batch x {} micro-batch(es) x {} replica(s); gradients: {}"
            .format(self.num_micro_batch, self.num_replicas, self.reduce_method),
            "{:>8} {:>6} {:>7} {:>7}  {}".format("replica", "stage", "worker", "device", "name"),
        ]
        for p in self.placements:
            lines.append("{:>8} {:>6} {:>7} {:>7}  {}".format(
                p.replica, p.stage, p.worker, p.device, self.stage_names[p.stage]))
        return "\n".join(lines)


def make_plan(stages: Sequence[Tuple[str, int]], num_workers: int, devices_per_worker: int,
              num_micro_batch: int = 1, reduce_method: str = "mean") -> ParallelPlan:
    """Lay the model out over the devices.

    This version lays out data parallelism over workers: one stage, one device per worker.

    Args:
      stages: (name, device_count) of each TaskGraph; at least one.
      num_workers: processes in the job.
      devices_per_worker: devices of each.
      num_micro_batch: micro-batches per replica and step.
      reduce_method: "mean" or "sum".

    Raises:
      NotImplementedError: a layout that this version cannot run, with the numbers and the cure.
    """
    if len(stages) > 1:
        raise NotImplementedError(
            "the graph has {} TaskGraphs ({}): pipeline stages are not available yet in this "
            "version of EPL; call epl.set_default_strategy(epl.replicate(1)) once per graph"
            .format(len(stages), ", ".join(name or "unnamed" for name, _ in stages)))
    name, device_count = stages[0]
    if device_count != 1:
        raise NotImplementedError(
            "epl.replicate(device_count={}): one replica on several devices is not available yet "
            "in this version of EPL; use device_count=1".format(device_count))
    if devices_per_worker != 1:
        raise NotImplementedError(
            "{} devices per worker: several devices in one worker are not available yet in this "
            "version of EPL; use epl-launch --num_workers {} --gpu_per_worker 1".format(
                devices_per_worker, num_workers * devices_per_worker))
    placements = tuple(Placement(worker, 0, worker, 0) for worker in range(num_workers))
    return ParallelPlan(num_workers, devices_per_worker, (name or "model",), placements,
                        num_micro_batch, reduce_method)
