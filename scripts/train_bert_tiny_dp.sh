#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Train a tiny BERT from random weights on the embedded sample, answer the held-out questions, score.
#
#   epl-launch --num_workers 2 scripts/train_bert_tiny_dp.sh
#
# Argument: the output directory (epl-launch gives one to every worker).
# Environment: BATCH (global), EPOCHS, LEARNING_RATE, SEED.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bert="$root/examples/bert"
sample="$bert/sample"
output="${1:-bert_tiny_output}"

python "$bert/run_squad_dp.py" \
  --vocab_file="$sample/vocab.txt" \
  --bert_config_file="$sample/bert_config.json" \
  --do_train --train_file="$sample/train.json" \
  --do_predict --predict_file="$sample/dev.json" \
  --train_batch_size="${BATCH:-64}" \
  --predict_batch_size=32 \
  --learning_rate="${LEARNING_RATE:-1.5e-3}" \
  --num_train_epochs="${EPOCHS:-15}" \
  --max_seq_length=52 --max_query_length=16 --doc_stride=32 --max_answer_length=8 \
  --seed="${SEED:-1}" \
  --output_dir="$output"

if [[ "${EPL_WORKER_INDEX:-0}" == 0 ]]; then
  python "$bert/evaluate-v1.1.py" "$sample/dev.json" "$output/predictions.json"
fi
