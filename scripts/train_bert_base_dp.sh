#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Fine-tune BERT-base on SQuAD 1.1, answer its development set, score.
#
#   epl-launch --num_workers 2 --gpu_per_worker 1 scripts/train_bert_base_dp.sh
#
# Argument: the output directory (epl-launch gives one to every worker).
# Environment: BERT_BASE_DIR, DATA_DIR, BATCH (global), EPOCHS, LEARNING_RATE, SEED.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bert="$root/examples/bert"
model="${BERT_BASE_DIR:-uncased_L-12_H-768_A-12}"
data="${DATA_DIR:-data}"
output="${1:-bert_base_output}"

missing=()
for file in "$model"/{vocab.txt,bert_config.json,bert_model.ckpt.index} \
            "$data"/{train,dev}-v1.1.json; do
  [[ -e "$file" ]] || missing+=("$file")
done
if ((${#missing[@]})); then
  {
    echo "error: missing: ${missing[*]}"
    echo "Point BERT_BASE_DIR and DATA_DIR to the files, or download them:"
    echo "  curl -LO https://storage.googleapis.com/bert_models/2020_02_20/uncased_L-12_H-768_A-12.zip"
    echo "  unzip uncased_L-12_H-768_A-12.zip -d \"$model\""
    echo "  mkdir -p \"$data\""
    for part in train dev; do
      echo "  curl -L -o \"$data/$part-v1.1.json\"" \
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/$part-v1.1.json"
    done
  } >&2
  exit 2
fi

python "$bert/run_squad_dp.py" \
  --vocab_file="$model/vocab.txt" \
  --bert_config_file="$model/bert_config.json" \
  --init_checkpoint="$model/bert_model.ckpt" \
  --do_train --train_file="$data/train-v1.1.json" \
  --do_predict --predict_file="$data/dev-v1.1.json" \
  --train_batch_size="${BATCH:-12}" \
  --learning_rate="${LEARNING_RATE:-3e-5}" \
  --num_train_epochs="${EPOCHS:-2}" \
  --max_seq_length=384 --doc_stride=128 \
  --seed="${SEED:-1}" \
  --output_dir="$output"

if [[ "${EPL_WORKER_INDEX:-0}" == 0 ]]; then
  python "$bert/evaluate-v1.1.py" "$data/dev-v1.1.json" "$output/predictions.json"
fi
