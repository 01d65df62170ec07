# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), data parallel over workers."""

import os
import sys

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

import epl
from examples.bert import flags as command_line
from examples.bert import run_squad
from examples.bert.errors import UserError, exit_code


def main() -> None:
    """Start EPL as the command line says, then run as on one device."""
    flags = command_line.parse(__doc__)
    if flags.num_pipe_stages > 1:
        raise UserError("--num_pipe_stages {}: this script trains whole models on every worker; "
                        "leave the flag out".format(flags.num_pipe_stages))
    try:
        epl.init(epl.Config(command_line.epl_settings(flags)))
    except (epl.ConfigError, NotImplementedError) as error:
        raise UserError(str(error)) from None
    epl.set_default_strategy(epl.replicate(device_count=1))
    cluster = epl.Env.get().cluster
    run_squad.run(flags, run_squad.Worker(
        cluster.worker_num, cluster.worker_index,
        lambda loss: epl.add_to_collection(loss, epl.GraphKeys.GLOBAL_MEAN_OBJECTS)))


if __name__ == "__main__":
    sys.exit(exit_code(main))
