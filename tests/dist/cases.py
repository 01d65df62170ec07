# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The cases in which several workers are compared with one device and the whole batch."""

from typing import Dict, NamedTuple


class Case(NamedTuple):
    """One training.

    Attributes:
      model: name in `tests.support.models`, trained with EPL.
      optimizer: name in `tests.support.training`.
      resource: resource variables instead of ref variables.
      plain_model: what the same training is on one device, where two workers share it; of four it
        is `plain_of_four`.
    """

    model: str
    optimizer: str
    resource: bool
    plain_model: str

    @property
    def plain_of_four(self) -> str:
        return "batch_norm_in_four" if self.model == "batch_norm" else self.plain_model


def _cases() -> Dict[str, Case]:
    trainings = [("mlp_embedding", o) for o in ("sgd", "momentum", "adam", "adam_weight_decay")]
    trainings += [("while_loop", "momentum"), ("batch_norm", "sgd"),
                  ("bert", "momentum"), ("bert", "adam_weight_decay")]
    cases = {}
    for model, optimizer in trainings:
        for resource in (False, True):
            name = "{}-{}-{}".format(model, optimizer, "resource" if resource else "ref")
            plain = "batch_norm_by_hand" if model == "batch_norm" else model
            cases[name] = Case(model, optimizer, resource, plain)
    return cases


CASES = _cases()
