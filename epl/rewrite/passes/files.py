# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""With `io.slicing` every worker reads its own files of each list."""

from typing import Any, Set

from epl.errors import ConfigError
from epl.ir import editor
from epl.ir.environment import context_of
from epl.plan.files import share
from epl.rewrite import file_lists
from epl.rewrite.passes.base import GRAPH, Pass
from epl.rewrite.rewriting import Rewriting


class Divided:
    """What is divided already, in a graph that grows.

    Attributes:
      lists: (name of the iterator, name of the constant).
    """

    def __init__(self) -> None:
        self.lists: Set[Any] = set()


def _run(rewriting: Rewriting, unit: Any) -> None:
    graph, context = rewriting.graph, context_of(rewriting.graph)
    divided = rewriting.state.record(Divided).lists
    for found in file_lists.find(graph):
        key = (found.iterator, found.node.name)
        if key not in divided:
            divided.add(key)
            file_lists.keep(graph, found, share(
                len(found.names), context.cluster.worker_index, context.cluster.worker_num,
                context.config.io.unbalanced_io_slicing, context.config.io.drop_last_files))
            editor.say(graph, "list(s) of files divided")
    if not divided:
        raise ConfigError(
            "io.slicing = True, but the graph has no constant list of files that it reads with "
            "tf.data or tf.train.string_input_producer, so all {} workers would read the same "
            "rows: leave io.slicing out, and divide files or rows with epl.shard".format(
                context.cluster.worker_num))


def _wanted(rewriting: Rewriting, unit: Any) -> bool:
    context = context_of(rewriting.graph)
    return bool(context.config.io.slicing) and context.cluster.worker_num > 1


PASS = Pass(
    "files", "gives this worker its files of every list (io.slicing)",
    GRAPH, _run, wanted=_wanted)
