# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), as a pipeline of stages."""

import os
import sys

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from examples.bert import flags as command_line
from examples.bert.errors import UserError, exit_code


def main() -> None:
    """Parse the command line of `run_squad_dp.py`; then say that pipelines are not built yet."""
    flags = command_line.parse(__doc__)
    raise UserError("--num_pipe_stages {} --num_micro_batch {}: EPL cannot run pipelines yet; "
                    "run_squad_dp.py trains the same model data parallel".format(
                        flags.num_pipe_stages, flags.num_micro_batch))


if __name__ == "__main__":
    sys.exit(exit_code(main))
