# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a device does at a time: the one word for schedule, simulator, drawing, rewrite, profiler.

    forward(s-1, m) ──▶ forward(s, m) ──▶ forward(s+1, m)
                             │
                             ▼
    backward(s-1, m) ◀── backward(s, m) ◀── backward(s+1, m)

The arrows, and all else that is to be known of a kind of action, are its row in `KINDS`. Nothing
outside this module lists kinds: a new one is a new row.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

FORWARD = "forward"
BACKWARD = "backward"
INPUT_GRADIENTS = "input_gradients"
WEIGHT_GRADIENTS = "weight_gradients"
RECOMPUTE = "recompute"


# What actions make, for one micro-batch on one stage, and other actions need.
OUTPUTS = "outputs"
ACTIVATIONS = "activations"  # of all layers, as the gradients need them
GRADIENTS_OF_INPUTS = "gradients of inputs"
GRADIENTS_OF_WEIGHTS = "gradients of weights"
MADE_ONCE = (OUTPUTS, GRADIENTS_OF_INPUTS, GRADIENTS_OF_WEIGHTS)


class Need(NamedTuple):
    """What must have been made before an action, for its micro-batch.

    Attributes:
      what: the last action that makes it is waited for.
      neighbour: for which stage: -1 the one before, 0 the action's own, 1 the one behind. The first
        and the last stage need nothing of neighbours that are not there.
    """

    what: str
    neighbour: int


class Kind(NamedTuple):
    """A row of the table.

    Attributes:
      label: one letter for drawings.
      title: for people, before "2 of stage 0".
      colours: of even and of odd micro-batches, for pictures.
      needs: what must have been made before.
      makes: what is there afterwards.
    """

    label: str
    title: str
    colours: Tuple[str, str]
    needs: Tuple[Need, ...]
    makes: Tuple[str, ...]

    @property
    def opens(self) -> bool:
        """Activations are in memory from here on."""
        return ACTIVATIONS in self.makes

    @property
    def closes(self) -> bool:
        """Activations are in memory up to here: nothing needs them any more."""
        return GRADIENTS_OF_WEIGHTS in self.makes

    @property
    def computes_gradients(self) -> bool:
        """It makes gradients, of inputs or of weights."""
        return GRADIENTS_OF_INPUTS in self.makes or GRADIENTS_OF_WEIGHTS in self.makes


_TO_GRADIENTS = (Need(ACTIVATIONS, 0), Need(GRADIENTS_OF_INPUTS, 1))

KINDS: Dict[str, Kind] = {
    FORWARD: Kind("F", "forward", ("#2f6fb3", "#6ea6dc"),
                  (Need(OUTPUTS, -1),), (OUTPUTS, ACTIVATIONS)),
    # Where a schedule has it, the forward keeps no activations.
    RECOMPUTE: Kind("R", "recompute", ("#3b8f93", "#86c5c8"), (Need(OUTPUTS, 0),), (ACTIVATIONS,)),
    BACKWARD: Kind("B", "backward", ("#d9822b", "#f3b36b"),
                   _TO_GRADIENTS, (GRADIENTS_OF_INPUTS, GRADIENTS_OF_WEIGHTS)),
    # The halves of a backward: what the stage before waits for, and what nobody waits for (zero
    # bubble, arXiv:2401.10241, where they are called B and W).
    INPUT_GRADIENTS: Kind("I", "input gradients", ("#c44e70", "#e598ad"),
                          _TO_GRADIENTS, (GRADIENTS_OF_INPUTS,)),
    WEIGHT_GRADIENTS: Kind("W", "weight gradients", ("#7a5fb0", "#b5a3d6"),
                           (Need(GRADIENTS_OF_INPUTS, 0),), (GRADIENTS_OF_WEIGHTS,)),
}


class Action(NamedTuple):
    """What a device does at a time (all numbers 0-based), with no unit of time of its own.

    Attributes:
      kind: a key of `KINDS`.
      stage: of the pipeline.
      micro_batch: of the step.
      replica: of the model; schedules leave it at 0, as all replicas do the same.

    Examples:
      >>> from epl.plan.action import FORWARD, Action
      >>> action = Action(FORWARD, stage=0, micro_batch=2)
      >>> action.label, str(action)
      ('F2', 'forward 2 of stage 0')
    """

    kind: str
    stage: int
    micro_batch: int
    replica: int = 0

    @property
    def label(self) -> str:
        """F2 for the forward of micro-batch 2."""
        return "{}{}".format(KINDS[self.kind].label, self.micro_batch)

    @property
    def path(self) -> str:
        """As part of an operation's name."""
        return "replica_{}/stage_{}/{}_{}".format(
            self.replica, self.stage, self.kind, self.micro_batch)

    def __str__(self) -> str:
        return "{} {} of stage {}".format(KINDS[self.kind].title, self.micro_batch, self.stage)


def makers(what: str, stage: int, micro_batch: int) -> List[Action]:
    """The actions that make `what`, in the order of the table."""
    return [Action(kind, stage, micro_batch) for kind, row in KINDS.items() if what in row.makes]


Actions = Sequence[Sequence[Action]]  # of every device of a replica, in the order it runs them


class Span(NamedTuple):
    """When a device does something, planned or measured.

    Attributes:
      device: its number in a simulation, its name (`profiler.events.Event.device`) in a timeline.
      action: what it does; None for the update behind the last action of a device.
      pieces: (start, end) of the times when it is busy with it: in order, at least one, none
        touching the next.
    """

    device: Union[int, str]
    action: Optional[Action]
    pieces: Tuple[Tuple[Any, Any], ...]

    @property
    def start(self) -> Any:
        return self.pieces[0][0]

    @property
    def end(self) -> Any:
        return self.pieces[-1][1]

    @property
    def main(self) -> Tuple[Any, Any]:
        """The longest piece."""
        return max(self.pieces, key=lambda piece: piece[1] - piece[0])

    @property
    def busy(self) -> Any:
        """The time of all pieces."""
        return sum(end - start for start, end in self.pieces)

    @property
    def label(self) -> str:
        """That of the action, or "update"."""
        return "update" if self.action is None else self.action.label
