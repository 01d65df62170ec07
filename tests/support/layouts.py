# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The cases of `tests/graph/test_equivalence.py`: which training on which layout of devices.

A training is a model, an optimizer, clipping or not, and the kind of variables. A layout is the
stages, the replicas, the micro-batches, the schedule, and the way the script annotates its stages.
"""

import functools
import itertools
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from tests.support import staged_models

OPTIMIZERS = ("sgd", "momentum", "adam", "decayed_momentum")
SCHEDULES = ("PreferForward", "PreferBackward", "PreferBackwardOptimizer")
# How a script says where a stage begins.
BLOCK, DEFAULT, AUTOMATIC = "block", "default", "automatic"

STAGES = (1, 2, 4)
REPLICAS = (1, 2)
MICRO_BATCHES = (1, 2, 4, 8)


class Spec(NamedTuple):
    """A model and what the script around it has to provide.

    Attributes:
      model: the model.
      columns: which of the data it reads.
      inputs: how the data comes in (a key of `tests.graph.equivalence.INPUTS`).
      by_hand: number of shards -> a model that computes on one device what `model` means if so many
        micro-batches are normalised apart; None: `model` itself.
      control_flow_v2: built with functional control flow.
      gradients_after_updates: the script asks for gradients under the UPDATE_OPS as well.
      apply_after_loss: the script updates after the loss is known. Without that plain TensorFlow
        may read a ref variable for the loss after the update.
      max_stages: stages it can be cut into.
      random: it draws other numbers in every clone, so that one device cannot be its reference.
    """

    model: Callable[..., Any]
    columns: Tuple[str, ...]
    inputs: str
    by_hand: Optional[Callable[[int], Callable[..., Any]]] = None
    control_flow_v2: bool = False
    gradients_after_updates: bool = False
    apply_after_loss: bool = False
    max_stages: int = staged_models.QUARTERS
    random: bool = False


def _normalised(inputs, fused, **options):
    def by_hand(shards):
        return staged_models.convolution(
            functools.partial(staged_models.norm_by_hand, shards=shards, fused=fused))

    library = functools.partial(staged_models.library_norm, fused=fused)
    return Spec(staged_models.convolution(library), ("image", "y"), inputs, by_hand, **options)


_XY = ("x", "y")
_IDS = ("ids", "y")
MODELS = {
    "mlp": Spec(staged_models.mlp, _XY, "one_shot"),
    "batch_norm": _normalised("placeholders", fused=False),
    "batch_norm_fused": _normalised("initializable", fused=True, gradients_after_updates=True),
    "lstm": Spec(staged_models.lstm, ("ids", "length", "y"), "feedable"),
    "encoder": Spec(staged_models.encoder, _IDS, "initializable"),
    "bert": Spec(staged_models.bert, _IDS, "queue", max_stages=2),
    "while": Spec(staged_models.while_loop, _XY, "placeholders"),
    "while_v2": Spec(staged_models.while_loop, _XY, "one_shot", control_flow_v2=True),
    "cond": Spec(staged_models.cond, _XY, "feedable"),
    "cond_v2": Spec(staged_models.cond, _XY, "placeholders", control_flow_v2=True),
    "tied": Spec(staged_models.tied, ("ids",), "queue"),
    "lookups": Spec(staged_models.lookups, _IDS, "one_shot"),
    "names": Spec(staged_models.odd_names, _XY, "one_shot"),
    "fed": Spec(staged_models.fed, _XY, "fed"),
    "py_func": Spec(staged_models.py_func, _XY, "initializable"),
    "l2": Spec(staged_models.l2, _XY, "feedable", apply_after_loss=True),
    "stop_gradient": Spec(staged_models.stop_gradient, _XY, "placeholders"),
    "custom_gradient": Spec(staged_models.custom_gradient, _XY, "queue"),
    "dropout": Spec(staged_models.dropout, _XY, "one_shot", random=True),
}


class Layout(NamedTuple):
    """How one worker's devices share the work.

    Attributes:
      devices: number of devices of each stage of one replica.
      replicas: model replicas.
      micro_batches: micro-batches per replica and step.
      schedule: value of `pipeline.strategy`.
      annotation: BLOCK: `with epl.replicate(...)`; DEFAULT: `epl.set_default_strategy(...)`;
        AUTOMATIC: `auto.auto_parallel`, the script says nothing.
      chunks: stages on each device.
    """

    devices: Tuple[int, ...]
    replicas: int
    micro_batches: int
    schedule: str
    annotation: str
    chunks: int = 1

    @property
    def num_devices(self) -> int:
        return self.replicas * sum(self.devices) // self.chunks

    @property
    def clones(self) -> int:
        """CloneMap of the model that see different rows, devices of one stage not counted."""
        return self.replicas * self.micro_batches

    def __str__(self) -> str:
        stages = "stages_{}".format(len(self.devices))
        if max(self.devices) > 1:
            stages = "devices_{}".format("+".join(map(str, self.devices)))
        if self.chunks > 1:
            stages += "-chunks_{}".format(self.chunks)
        return "{}-replicas_{}-micro_{}-{}-{}".format(
            stages, self.replicas, self.micro_batches, self.schedule, self.annotation)


class Training(NamedTuple):
    """What is trained and how; on one device it is the reference of many cases.

    Attributes:
      model: key of `MODELS`.
      optimizer: one of OPTIMIZERS.
      clip: gradients are clipped by their global norm.
      resource: resource variables instead of ref variables.
    """

    model: str
    optimizer: str
    clip: bool
    resource: bool

    def __str__(self) -> str:
        return "{}-{}-{}-{}".format(self.model, self.optimizer, "clip" if self.clip else "whole",
                                    "resource" if self.resource else "ref")


class Case(NamedTuple):
    """A training on a layout."""

    training: Training
    layout: Layout

    @property
    def reference(self) -> "Reference":
        by_hand = MODELS[self.training.model].by_hand is not None
        return Reference(self.training, self.layout.clones if by_hand else 1)

    def __str__(self) -> str:
        return "{}-{}".format(self.training, self.layout)


class Unoptimized(NamedTuple):
    """A case that is trained without TensorFlow's graph optimizers."""

    case: Case


class Reference(NamedTuple):
    """A training on one device in plain TensorFlow.

    Attributes:
      training: what is trained.
      shards: parts of the global batch that are normalised apart.
    """

    training: Training
    shards: int


class Outcome(NamedTuple):
    """What became of a training.

    Attributes:
      losses: what `session.run` returned for the loss, [STEPS].
      variables: all global variables afterwards, name -> value.
      masks: the dropout masks of every step, [STEPS][layer] -> array.
      devices: the devices that operations of the graph are placed on by name.
      error: traceback of what went wrong, or "".
    """

    losses: Any = None
    variables: Optional[Dict[str, Any]] = None
    masks: Any = ()
    devices: Any = ()
    error: str = ""


def trainings() -> List[Training]:
    """Every training that has a reference."""
    models = [name for name in sorted(MODELS) if not MODELS[name].random]
    return [Training(*choice) for choice in itertools.product(
        models, OPTIMIZERS, (False, True), (False, True))]


def layouts() -> List[Layout]:
    """Every layout with one device per stage; annotations alternate.

    With one stage all schedules are the same: they alternate there.
    """
    found = []
    for stages, replicas, micro_batches in itertools.product(STAGES, REPLICAS, MICRO_BATCHES):
        number = len(found)
        schedules = SCHEDULES if stages > 1 else (SCHEDULES[number % len(SCHEDULES)],)
        for schedule in schedules:
            annotation = (BLOCK, DEFAULT)[len(found) % 2]
            found.append(Layout((1,) * stages, replicas, micro_batches, schedule, annotation))
    return found


def full_matrix() -> List[Case]:
    """Every training on every layout that its model can be cut for."""
    return [Case(training, layout) for training in trainings() for layout in layouts()
            if len(layout.devices) <= MODELS[training.model].max_stages]


def default_matrix(per_model: int = 4) -> List[Case]:
    """A small part of the matrix in which, as far as it goes, every two choices meet.

    Cases are picked one after the other, for one model after the other: always the one with most
    pairs of choices that no picked case has yet, of several the one with the fewest clones.
    """
    candidates: Dict[str, List[Case]] = {}
    for case in full_matrix()[::13]:
        candidates.setdefault(case.training.model, []).append(case)
    picked: List[Case] = []
    seen: Set[Tuple[object, ...]] = set()
    for _ in range(per_model):
        for model in sorted(candidates):
            best = max(candidates[model],
                       key=lambda case: (len(pairs(case) - seen), -case.layout.clones))
            seen |= pairs(best)
            picked.append(best)
    return picked


def choices(case: Case) -> Dict[str, object]:
    """What makes up a case: dimension -> the choice made in it."""
    found = dict(case.training._asdict())
    found.update(case.layout._asdict())
    return found


def pairs(case: Case) -> Set[Tuple[object, ...]]:
    """All pairs of two dimensions' choices."""
    return set(itertools.combinations(sorted(choices(case).items(), key=lambda i: i[0]), 2))


def automatic_matrix() -> List[Case]:
    """Every model in stages that EPL chooses; optimizers, clipping and variables take turns."""
    models = [name for name in sorted(MODELS) if not MODELS[name].random]
    return [Case(Training(model, OPTIMIZERS[number % 4], clip=number % 3 == 0,
                          resource=number % 5 < 3),
                 Layout((1,) * stages, 1, micro_batches, SCHEDULES[number % len(SCHEDULES)],
                        AUTOMATIC))
            for stages, micro_batches in itertools.product((2, 4), (1, 4))
            for number, model in enumerate(models)]


def ordered_matrix() -> List[Case]:
    """Every model with several stages on a device, and with backwards in two halves."""
    orders = [("ZB-H1", 2, 1, 1), ("ZB-H1", 4, 1, 2), ("PreferBackward", 4, 2, 1),
              ("ZB-V", 4, 2, 1), ("PreferBackward", 2, 2, 2), ("ZB-V", 2, 2, 2)]
    models = [name for name in sorted(MODELS) if not MODELS[name].random]
    found = []
    for schedule, stages, chunks, replicas in orders:
        for model in models:
            if stages <= MODELS[model].max_stages:
                number = len(found)
                layout = Layout((1,) * stages, replicas, 4, schedule,
                                (BLOCK, DEFAULT, AUTOMATIC)[number % 3], chunks)
                found.append(Case(Training(model, OPTIMIZERS[number % 4], clip=number % 3 == 0,
                                           resource=number % 5 < 3), layout))
    return found


def sliced_matrix() -> List[Case]:
    """Stages over two devices each, `epl.replicate(device_count=2)`.

    The models read inputs with an unknown number of rows, which can be cut further.
    """
    found = []
    for number, (devices, (replicas, micro_batches), model) in enumerate(itertools.product(
            ((2,), (1, 2), (2, 2)), ((1, 1), (1, 4), (2, 2)), ("mlp", "fed", "cond"))):
        layout = Layout(devices, replicas, micro_batches, SCHEDULES[number % len(SCHEDULES)],
                        (BLOCK, DEFAULT)[number % 2])
        assert staged_models.GLOBAL_BATCH % (layout.clones * max(devices)) == 0
        found.append(Case(Training(model, OPTIMIZERS[number % 4], clip=number % 2 == 0,
                                   resource=number % 5 < 3), layout))
    return found
