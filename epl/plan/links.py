# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What workers send each other in a step.

Between replicas go gradients, and where a replica lies on several workers, what its stages hand on:

    replica 0    worker 0: stage 0  -- activations -->  worker 1: stage 1
                                    <-- gradients ----
                        |                                      |
                 gradients of stage 0                   gradients of stage 1
                        |                                      |
    replica 1    worker 2: stage 0  ...                 worker 3: stage 1
"""

import collections
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from epl.plan.parallel_plan import ParallelPlan

_KIB = 2.0 ** 10
_MOST_NAMED = 8


class Crossing(NamedTuple):
    """A value that one stage computes and others read.

    Attributes:
      source: the stage; None: the data that a replica reads, which its leader has.
      targets: the stages that read it, ascending.
      size: bytes, of one micro-batch of one replica; 0: they depend on values.
      once: it is the same for all micro-batches (a variable), and sent once in a step.
    """

    source: Optional[int]
    targets: Tuple[int, ...]
    size: int
    once: bool


class Links(NamedTuple):
    """What is sent in a step.

    Attributes:
      sent: (worker, another worker) -> bytes that the first sends the second.
      summed: (workers, stage) -> bytes of the stage's dense gradients, which they add up.
      gathered: (workers, stage) -> bytes of the rows that each of them has of the stage's sparse
        gradients, at most, and gives to all.
      uncounted: values that are sent too, and whose sizes are not known.
    """

    sent: Dict[Tuple[int, int], int]
    summed: Dict[Tuple[Tuple[int, ...], int], int]
    gathered: Dict[Tuple[Tuple[int, ...], int], int]
    uncounted: int

    def describe(self) -> List[str]:
        """Lines for people."""
        lines = ["  worker {} to worker {}: {:.1f}".format(source, target, size / _KIB)
                 for (source, target), size in sorted(self.sent.items())]
        for what, of_stages in (("add up gradients", self.summed),
                                ("gather rows of gradients", self.gathered)):
            lines += ["  workers {} {} of stage {}: {:.1f} of each".format(
                _named(workers), what, stage, size / _KIB)
                for (workers, stage), size in sorted(of_stages.items(), key=lambda i: i[0][::-1])]
        if self.uncounted:
            lines.append("  {} value(s) more, whose sizes the graph does not say".format(
                self.uncounted))
        return ["sent between workers in a step, predicted, in KiB:"] + lines if lines else []


def _named(workers: Tuple[int, ...]) -> str:
    if len(workers) > _MOST_NAMED and workers == tuple(range(workers[0], workers[-1] + 1)):
        return "{} to {}".format(workers[0], workers[-1])
    return " ".join(map(str, workers))


def links_of(plan: ParallelPlan, crossings: Sequence[Crossing], gradients: Dict[int, int],
             rows: Dict[int, int], unknown: int = 0) -> Links:
    """What the workers of a job send each other.

    Args:
      plan: of several workers.
      crossings: what stages of a replica send each other.
      gradients: stage -> bytes of the dense gradients of its variables.
      rows: stage -> bytes of the rows of its sparse gradients, those of one micro-batch.
      unknown: gradients whose sizes are not known.
    """
    joined = plan.num_micro_batch * len(plan.replicas_of(0))
    return Links(
        _sent(plan, crossings) if plan.teams is not None else {},
        _between_peers(plan, gradients),
        _between_peers(plan, {stage: size * joined for stage, size in rows.items()}),
        (unknown if plan.num_workers > 1 else 0)
        + (sum(not crossing.size for crossing in crossings) if plan.teams is not None else 0))


def _between_peers(plan: ParallelPlan, sizes: Dict[int, int]
                   ) -> Dict[Tuple[Tuple[int, ...], int], int]:
    """(workers that hold the stage in other replicas, stage) -> what each has for the others.

    What the replicas of one worker, or team, have is put together before.
    """
    if plan.num_workers == 1:
        return {}
    every = tuple(range(plan.num_workers))
    return {(every if plan.teams is None else plan.teams.peers(
        plan.placements[stage].devices[0]), stage): size for stage, size in sizes.items() if size}


def _sent(plan: ParallelPlan, crossings: Sequence[Crossing]) -> Dict[Tuple[int, int], int]:
    """(worker, another worker) -> bytes of what stages hand on."""
    assert plan.teams is not None
    sent: Dict[Tuple[int, int], int] = collections.defaultdict(int)
    for replica in range(plan.num_replicas):
        team = plan.placements[replica * plan.num_stages].devices[0].worker
        leader = plan.teams.members(team)[0]
        for crossing in crossings:
            number = 1 if crossing.once else plan.num_micro_batch
            for part in range(1 if crossing.once else plan.num_slices):
                size = crossing.size * number // (1 if crossing.once else plan.num_slices)
                for source, target in _pairs(plan, crossing, replica, part, leader):
                    sent[source, target] += size
    return {link: size for link, size in sent.items() if size}


def _pairs(plan: ParallelPlan, crossing: Crossing, replica: int, part: int,
           leader: int) -> List[Tuple[int, int]]:
    """(sender, receiver) of a value: it is sent once to each device, whoever reads it there."""
    source = leader if crossing.source is None else plan.real(
        plan.device_of(replica, crossing.source, part)).worker
    devices = {plan.real(plan.device_of(replica, stage, part)) for stage in crossing.targets}
    return [(source, device.worker) for device in devices if device.worker != source]
