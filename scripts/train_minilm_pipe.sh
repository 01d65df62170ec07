#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Fine-tune MiniLM, a small pre-trained BERT, on SQuAD, answer its development set, score: a
# pipeline over the devices of each worker.
#
#   epl-launch --num_workers 1 --gpu_per_worker 2 scripts/train_minilm_pipe.sh
#
# Arguments: the output directory (epl-launch gives one to every worker), then flags of
# run_squad_pipe.py.
# Environment: MINILM_DIR, DATA_DIR, BATCH (global), EPOCHS, LEARNING_RATE, SEED, NUM_MICRO_BATCH
# (default 4), NUM_PIPE_STAGES (default: the devices of a worker), and the others that are printed
# at the start.
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/lib/train_bert.sh"
train_minilm pipe "$@"
