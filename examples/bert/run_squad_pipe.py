# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), as a pipeline of stages."""

import os
import sys

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

import epl
from examples.bert import flags as command_line
from examples.bert import parallel, run_squad
from examples.bert.errors import exit_code

_MICRO_BATCHES = 4


def main() -> None:
    """Start EPL as the command line says, then run as on one device, stage by stage."""
    flags = command_line.parse(__doc__, num_micro_batch=_MICRO_BATCHES)
    parallel.init(flags)
    stages = flags.num_pipe_stages or epl.Env.get().cluster.gpu_num_per_worker
    run_squad.run(flags, parallel.this_worker(
        stages, _begin_stage, flags.memory_limit_mb))


def _begin_stage(stage: int) -> None:
    """What is built from here on is a stage of its own.

    The embeddings, built before the first layer, join stage 0; the answer head is built after the
    last layer and so is in the last stage.
    """
    epl.set_default_strategy(epl.replicate(device_count=1, name="stage_{}".format(stage)))


if __name__ == "__main__":
    sys.exit(exit_code(main))
