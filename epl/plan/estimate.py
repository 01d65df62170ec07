# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a training step would take on devices that are not there.

    devices = replicas x stages

    stages of a replica    |F0 F1 .. B0 ..    |           simulated, with the time that it takes
                           |.  F0 F1 .. B0 ...|           from one stage to the next
    replicas                                  |reduce|    gradients of each stage, in a ring, when
                                                          all of them are there

Nothing of it is measured: it compares layouts, and says where one of them stops to pay.
"""

from typing import Dict, List, NamedTuple, Sequence

from epl.errors import ConfigError
from epl.plan.action import BACKWARD, FORWARD, INPUT_GRADIENTS, WEIGHT_GRADIENTS
from epl.plan.costs import Chain
from epl.plan.division import divide
from epl.plan.schedules import Shape, actions_of
from epl.plan.simulator import simulate

# Of a stage's time; the products of a dense layer are as many FLOPs in each of three.
_SHARES = {FORWARD: 1 / 3, BACKWARD: 2 / 3, INPUT_GRADIENTS: 1 / 3, WEIGHT_GRADIENTS: 1 / 3}
_SLACK = 2  # percent, as for automatic stages


class Hardware(NamedTuple):
    """Devices, all alike, and what connects them.

    Attributes:
      flops: that a device computes in a second; of what `Unit.work` counts, if that is others.
      sent: of these, what sending a byte to the next stage takes.
      to_next_stage: bytes per second between the devices of neighbouring stages.
      to_replica: bytes per second that a device sends to another replica.
      memory: bytes of a device.
    """

    flops: float
    sent: int
    to_next_stage: float
    to_replica: float
    memory: int


class Estimate(NamedTuple):
    """A layout, and what a step of it takes.

    Attributes:
      num_replicas: of the model.
      num_stages: of each, one device for each.
      num_micro_batch: of each replica.
      schedule: name of the order of forwards and backwards.
      seconds: of a step.
      bubble_share: idle part of the devices' time while forwards and backwards run, 0 to 1.
      memory: bytes of the device that needs most.
      sent: bytes that a device sends in a step, of the one that sends most.
    """

    num_replicas: int
    num_stages: int
    num_micro_batch: int
    schedule: str
    seconds: float
    bubble_share: float
    memory: int
    sent: int


class _Stages(NamedTuple):
    """A model in stages; numbers of each stage, of one micro-batch.

    Attributes:
      seconds: of its forward and its backward.
      widths: bytes that cross in front of each, and 0 behind the last.
      state: bytes that are always there.
      held: bytes between a forward and its backward.
    """

    seconds: List[float]
    widths: List[int]
    state: List[int]
    held: List[int]


class Layouts:
    """A model on hardware that need not be there.

    Attributes:
      hardware: the devices.
    """

    def __init__(self, chain: Chain, hardware: Hardware, state_per_gradient: int = 4):
        """Note what is to be planned.

        Args:
          chain: the model, with the costs of one micro-batch.
          hardware: the devices.
          state_per_gradient: bytes of a unit's `state` for each byte of its gradients; 4 with Adam
            (weights, gradients, two moments).
        """
        self._chain, self.hardware = chain, hardware
        self._state_per_gradient = state_per_gradient
        self._known: Dict[int, _Stages] = {}

    def estimate(self, num_replicas: int, num_stages: int, num_micro_batch: int,
                 schedule: str = "preferbackward") -> Estimate:
        """What a step of a layout takes.

        Args:
          num_replicas: of the model.
          num_stages: of each; the best ones (`division.divide`).
          num_micro_batch: of each replica.
          schedule: a name out of `schedules.NAMES`, for one stage on a device.

        Raises:
          ConfigError: more stages than units.
        """
        stages = self._stages(num_stages)
        simulation = simulate(
            actions_of(schedule, Shape(num_stages, num_micro_batch)),
            {kind: [share * each for each in stages.seconds] for kind, share in _SHARES.items()},
            max(stages.widths) / self.hardware.to_next_stage)
        reduced = [2 * (num_replicas - 1) * each // self._state_per_gradient // num_replicas
                   for each in stages.state]
        crossing = zip(reduced, stages.widths, stages.widths[1:])
        in_flight = zip(stages.state, simulation.peak_in_flight, stages.held)
        return Estimate(
            num_replicas, num_stages, num_micro_batch, schedule,
            float(simulation.makespan) + max(reduced) / self.hardware.to_replica,
            float(simulation.bubble_share),
            max(state + most * held for state, most, held in in_flight),
            max(own + num_micro_batch * (before + behind) for own, before, behind in crossing))

    def by_time(self, num_devices: int, num_micro_batch: int,
                schedules: Sequence[str] = ("preferbackward",),
                max_stages: int = 32) -> List[Estimate]:
        """All layouts of a number of devices that keep to their memory, the fastest first.

        Args:
          num_devices: replicas x stages.
          num_micro_batch: of all replicas together.
          schedules: those that count, where they can run; with one stage the first of them.
          max_stages: of a replica.

        Raises:
          ConfigError: no layout keeps to it, or divides the micro-batches, or no schedule can run.
          NotImplementedError: no schedule can run.
        """
        found, error = [], None
        for num_stages in range(1, min(num_devices, max_stages, len(self._chain.units)) + 1):
            num_replicas, rest = divmod(num_devices, num_stages)
            if not rest and not num_micro_batch % num_replicas:
                for schedule in schedules if num_stages > 1 else schedules[:1]:
                    try:
                        found.append(self.estimate(
                            num_replicas, num_stages, num_micro_batch // num_replicas, schedule))
                    except (ConfigError, NotImplementedError) as impossible:  # a script's own
                        error = error or impossible
        if error and not found:
            raise error
        fitting = [each for each in found if each.memory <= self.hardware.memory]
        if not fitting:
            least = min((each.memory for each in found), default=None)
            raise ConfigError("no layout of {} device(s) for {} micro-batch(es) {}".format(
                num_devices, num_micro_batch, "divides them equally" if least is None else
                "keeps to {} MiB of a device: the least that one needs is {} MiB".format(
                    self.hardware.memory >> 20, -(-least >> 20))))
        return sorted(fitting, key=lambda each: (each.seconds, each.num_stages, each.schedule))

    def _stages(self, number: int) -> _Stages:
        """The model in so many stages."""
        if number not in self._known:
            chain = self._chain
            starts = list(divide(chain, number, self.hardware.sent, slack=_SLACK).starts)
            units = [chain.units[first:end]
                     for first, end in zip(starts, starts[1:] + [len(chain.units)])]
            widths = chain.widths()
            self._known[number] = _Stages(
                [sum(unit.work for unit in own) / self.hardware.flops for own in units],
                [0] + [widths[first - 1] for first in starts[1:]] + [0],
                [sum(unit.state for unit in own) for own in units],
                [sum(unit.activations for unit in own) for own in units])
        return self._known[number]
