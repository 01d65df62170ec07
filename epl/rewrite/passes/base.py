# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a pass is."""

from typing import Any, Callable, NamedTuple, Tuple

from epl.ir import editor
from epl.rewrite.rewriting import Rewriting

# What a pass is run over: the graph once, or every family of gradients that is not rewritten yet.
GRAPH = "graph"
FAMILY = "family"


def always(rewriting: Rewriting, unit: Any) -> bool:
    """A pass that has something to do in every graph."""
    return True


def divides(rewriting: Rewriting, unit: Any) -> bool:
    """A pass for steps whose batch is divided."""
    return rewriting.divides


def several_workers(rewriting: Rewriting, unit: Any) -> bool:
    """A pass for what workers exchange."""
    return rewriting.num_workers > 1


def promises_nothing(rewriting: Rewriting) -> None:
    """A pass whose result cannot be checked by looking at the graph."""


class Pass(NamedTuple):
    """One transformation of a graph.

    Attributes:
      name: unique in the list.
      about: what it does, one line for people.
      over: GRAPH or FAMILY.
      run: carries it out on a `Rewriting`; for FAMILY on one family, a list of groups.
      needs: names of what passes before it make.
      makes: names of what it makes.
      wanted: False where it has nothing to do.
      verify: raises `RewriteError` if the result breaks a promise of the pass.
    """

    name: str
    about: str
    over: str
    run: Callable[[Rewriting, Any], None]
    needs: Tuple[str, ...] = ()
    makes: Tuple[str, ...] = ()
    wanted: Callable[[Rewriting, Any], bool] = always
    verify: Callable[[Rewriting], None] = promises_nothing

    def carry_out(self, rewriting: Rewriting, unit: Any) -> None:
        """Run it if there is something to do; what it changes is recorded under its name.

        Args:
          rewriting: the graph, its plan, and what passes before it made.
          unit: a family, or for GRAPH all groups that are new.
        """
        if self.wanted(rewriting, unit):
            with editor.working(rewriting.graph, self.name):
                self.run(rewriting, unit)
