#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Fine-tune BERT-large on SQuAD, answer its development set, score: a pipeline over the devices of
# each worker.
#
#   epl-launch --num_workers 1 --gpu_per_worker 4 scripts/train_bert_large_pipe.sh
#
# Arguments: the output directory (epl-launch gives one to every worker), then flags of
# run_squad_pipe.py.
# The memory that each device will need is printed before training, which does not begin if the
# smallest GPU has less than that.
# Environment: BERT_LARGE_DIR, DATA_DIR, BATCH (global), EPOCHS, LEARNING_RATE, SEED,
# NUM_MICRO_BATCH (default 4), NUM_PIPE_STAGES (default: the devices of a worker), and the others
# that are printed at the start.
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/lib/train_bert.sh"
train_bert_large pipe "$@"
