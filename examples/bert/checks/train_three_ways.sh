#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: examples/bert/checks/train_three_ways.sh DATA_DIR OUTPUT_DIR
#
# Fine-tunes MiniLM on the same questions in the same order in plain TensorFlow, with 2 data-parallel
# workers and in 2 pipeline stages with 4 micro-batches, once without and once with dropout, and
# compares losses and answers with compare_trainings.py. Exit code 0 means that without dropout no
# loss of the first 50 steps differs by more than 0.1 % and no F1 by more than 1 point, and with
# dropout no F1 by more than 2. Six trainings: with 8,161 questions an hour on two fast cores.
#
# DATA_DIR holds train.json and dev.json, or the official train-v1.1.json and dev-v1.1.json;
# MINILM_DIR (default data/minilm) what scripts/get_minilm.sh gets; EPOCHS (default 1) is the length
# of each training. Runs in the active virtual environment. A training that OUTPUT_DIR has already
# is not repeated.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd -P)
# shellcheck source=/dev/null
source "$root/scripts/lib/report.sh"

case ${1:-} in -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -eq 2 ] || { echo "train_three_ways.sh: error: give DATA_DIR and OUTPUT_DIR" >&2; exit 2; }
export MINILM_DIR=${MINILM_DIR:-data/minilm} EPOCHS=${EPOCHS:-1}
TRAIN_FILE=$1/train.json PREDICT_FILE=$1/dev.json
[ -e "$TRAIN_FILE" ] || TRAIN_FILE=$1/train-v1.1.json
[ -e "$PREDICT_FILE" ] || PREDICT_FILE=$1/dev-v1.1.json
export TRAIN_FILE PREDICT_FILE
export BATCH=16 LEARNING_RATE=1e-4 SEED=1 MAX_SEQ_LENGTH=256 DOC_STRIDE=128 PREDICT_BATCH=16
output=$2
for file in "$TRAIN_FILE" "$PREDICT_FILE" "$MINILM_DIR/bert_config.json"; do
  [ -e "$file" ] || fail "'$file' does not exist (see --help)"
done

plain() {  # <output directory>
  python "$root/examples/bert/run_squad.py" --output_dir "$1" --do_train --do_predict \
    --vocab_file "$MINILM_DIR/vocab.txt" --bert_config_file "$BERT_CONFIG_FILE" \
    --init_checkpoint "$MINILM_DIR/bert_model.ckpt" \
    --train_file "$TRAIN_FILE" --predict_file "$PREDICT_FILE" \
    --train_batch_size "$BATCH" --num_train_epochs "$EPOCHS" --learning_rate "$LEARNING_RATE" \
    --seed "$SEED" --max_seq_length "$MAX_SEQ_LENGTH" --doc_stride "$DOC_STRIDE" \
    --predict_batch_size "$PREDICT_BATCH"
}

dp() { epl-launch --log_dir "$1" --num_workers 2 "$root/scripts/train_minilm_dp.sh"; }

pipe() {
  NUM_MICRO_BATCH=4 epl-launch --log_dir "$1" --num_workers 1 --gpu_per_worker 2 \
    "$root/scripts/train_minilm_pipe.sh"
}

# three_ways <directory> <flags of compare_trainings.py>
three_ways() {
  local directory=$1 way runs=()
  shift
  for way in plain dp pipe; do
    if [[ ! -e "$directory/$way.done" ]]; then
      say "$directory/$way"
      "$way" "$directory/$way" 2>&1 | tee "$directory/$way.log" || fail "the training failed"
      touch "$directory/$way.done"
    fi
    runs+=("$way=$directory/$way")
  done
  # The chief of a job by epl-launch writes to <log_dir>/0.
  TF_CPP_MIN_LOG_LEVEL=2 python -W ignore "$root/examples/bert/checks/compare_trainings.py" \
    --dev "$PREDICT_FILE" --picture "$directory.png" "$@" \
    "${runs[0]}" "${runs[1]}/0" "${runs[2]}/0"
}

mkdir -p "$output/without_dropout" "$output/with_dropout"
python - "$MINILM_DIR/bert_config.json" "$output/without_dropout.json" <<'PYTHON'
import json
import sys

with open(sys.argv[1]) as file:
    config = json.load(file)
config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
with open(sys.argv[2], "w") as file:
    json.dump(config, file, indent=2)
PYTHON
BERT_CONFIG_FILE=$output/without_dropout.json
export BERT_CONFIG_FILE
same=true
three_ways "$output/without_dropout" --steps 50 --loss 1e-3 --f1 1 || same=false
BERT_CONFIG_FILE=$MINILM_DIR/bert_config.json
three_ways "$output/with_dropout" --steps 50 --f1 2 || same=false
"$same"
