# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), data parallel over all devices."""

import os
import sys

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

import epl
from examples.bert import flags as command_line
from examples.bert import parallel, run_squad
from examples.bert.errors import UserError, exit_code


def main() -> None:
    """Start EPL as the command line says, then run as on one device."""
    flags = command_line.parse(__doc__)
    if flags.num_pipe_stages not in (None, 1):
        raise UserError("--num_pipe_stages {}: this script trains whole models on every device; "
                        "leave the flag out or use run_squad_pipe.py".format(flags.num_pipe_stages))
    parallel.init(flags)
    epl.set_default_strategy(epl.replicate(device_count=1))
    run_squad.run(flags, parallel.this_worker(memory_limit_mb=flags.memory_limit_mb))


if __name__ == "__main__":
    sys.exit(exit_code(main))
