#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Train a tiny BERT from random weights on the embedded sample, answer the held-out questions,
# score.
#
#   epl-launch --num_workers 2 scripts/train_bert_tiny_dp.sh
#
# Arguments: the output directory (epl-launch gives one to every worker), then flags of
# run_squad_dp.py.
# Environment: BATCH (global), EPOCHS, LEARNING_RATE, SEED, NUM_MICRO_BATCH and the others that
# are printed at the start.
set -euo pipefail

# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/lib/train_bert.sh"
train_bert_tiny dp "$@"
