# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The timeline of one training step: events, spans, bubble; as text."""

from typing import List, NamedTuple, Tuple

from epl.plan.action import KINDS, Action, Span
from epl.plan.parallel_plan import ParallelPlan
from epl.profiler.action_map import ActionMap
from epl.profiler.bubble import Bubble, measure, percent
from epl.profiler.events import Event
from epl.profiler.spans import make_spans


class Timeline(NamedTuple):
    """What a training step did, on this worker. Times are nanoseconds since its first event.

    The bubble is the share of the stages' time in which they wait (GPipe, arXiv:1811.06965).

    Attributes:
      step: value of the global step when the step began.
      plan: what was carried out.
      action_map: which operation belongs where.
      events: operations, in the order in which they started.
      spans: actions and updates, in the order in which their longest pieces start.
      bubble: idle shares of the stages' time.
    """

    step: int
    plan: ParallelPlan
    action_map: ActionMap
    events: Tuple[Event, ...]
    spans: Tuple[Span, ...]
    bubble: Bubble

    @property
    def missing(self) -> List[Action]:
        """Actions of which nothing ran on the devices that the plan means for them."""
        seen = {span.action for span in self.spans}
        some = set(self.action_map.actions.values())  # the first stage has no input gradients
        replicas = sorted({replica for replica, _ in self.action_map.devices})
        return [action for replica in replicas for own in self.plan.actions
                for action in (each._replace(replica=replica) for each in own)
                if action in some and action not in seen]

    @property
    def duration(self) -> int:
        """Nanoseconds from the first to the last event."""
        return max(event.end for event in self.events)

    def describe(self) -> str:
        """The measured bubble beside the plan's, and the times of the stages, as text."""
        bubble, plan = self.bubble, self.plan
        lines = [
            "step {} took {}, the pipeline in it {}; schedule {}, {} micro-batch(es)".format(
                self.step, _ms(self.duration), _ms(bubble.window[1] - bubble.window[0]),
                plan.schedule, plan.num_micro_batch),
            "bubble: measured {}; plan {} with the measured times below, {} with equal times"
            .format(percent(bubble.measured), percent(bubble.planned),
                    percent(bubble.equal_times))]
        for stage, name in enumerate(plan.stage_names):
            lines.append("stage {} ({}): {} per micro-batch".format(stage, name, ", ".join(
                "{} {}".format(KINDS[kind].title, _ms(times[stage]))
                for kind, times in bubble.times.items())))
        missing = self.missing
        if missing:
            lines.append("not measured, as nothing of them ran on the plan's devices: {} "
                         "action(s), such as {}".format(len(missing), missing[0].path))
        return "\n".join(lines)


def make_timeline(step: int, plan: ParallelPlan, action_map: ActionMap,
                  events: List[Event]) -> Timeline:
    """The timeline of the events of one step.

    Raises:
      ValueError: none of the events belongs to an action.
    """
    spans = make_spans(events, action_map)
    return Timeline(step, plan, action_map, tuple(events), tuple(spans), measure(spans, plan))


def _ms(nanoseconds: float) -> str:
    return "{:.2f} ms".format(nanoseconds / 1e6)
