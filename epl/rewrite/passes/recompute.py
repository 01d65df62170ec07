# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Activations are computed again where the backward pass needs them (gradient_checkpoint.*)."""

from epl.ir.environment import context_of
from epl.rewrite.passes.base import FAMILY, Pass
from epl.rewrite.recompute import recompute, verify_recomputed
from epl.rewrite.rewriting import Family, Rewriting


def _run(rewriting: Rewriting, family: Family) -> None:
    recompute(rewriting, family)


def _wanted(rewriting: Rewriting, family: Family) -> bool:
    return bool(context_of(rewriting.graph).config.gradient_checkpoint.type)


def _verify(rewriting: Rewriting) -> None:
    verify_recomputed(rewriting.state)


PASS = Pass(
    "recompute", "computes activations again in the backward pass (gradient_checkpoint.type)",
    FAMILY, _run, needs=("leaving",), wanted=_wanted, verify=_verify)
