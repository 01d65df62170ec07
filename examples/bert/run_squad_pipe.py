# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), as a pipeline of stages."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from examples.bert import flags as command_line  # noqa: E402
from examples.bert.errors import UserError, exit_code  # noqa: E402


def main() -> None:
    """Parse the command line of `run_squad_dp.py`; then say that pipelines are not built yet."""
    flags = command_line.parse(__doc__)
    raise UserError("--num_pipe_stages {} --num_micro_batch {}: EPL cannot run pipelines yet; "
                    "run_squad_dp.py trains the same model data parallel".format(
                        flags.num_pipe_stages, flags.num_micro_batch))


if __name__ == "__main__":
    sys.exit(exit_code(main))
