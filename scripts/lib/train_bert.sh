# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# Training, answering and scoring with the BERT example, whatever runs it. Sourced.
#
# Read from the environment: BATCH (global), EPOCHS, LEARNING_RATE, SEED, NUM_MICRO_BATCH; for the
# pipelines NUM_PIPE_STAGES; for BERT-base BERT_BASE_DIR and DATA_DIR.

# train_bert_tiny dp|pipe [output directory [flag...]]
# From random weights, on the embedded sample.
train_bert_tiny() {
  local way=$1 output=${2:-bert_tiny_output} sample
  shift $(($# < 2 ? $# : 2))
  sample=$(_bert)/sample
  _train "$way" "$output" "$sample/train.json" "$sample/dev.json" \
    --vocab_file="$sample/vocab.txt" \
    --bert_config_file="$sample/bert_config.json" \
    --train_batch_size="${BATCH:-64}" \
    --predict_batch_size=32 \
    --learning_rate="${LEARNING_RATE:-1.5e-3}" \
    --num_train_epochs="${EPOCHS:-15}" \
    --max_seq_length=52 --max_query_length=16 --doc_stride=32 --max_answer_length=8 \
    "$@"
}

# train_bert_base dp|pipe [output directory [flag...]]
# From the public weights, on SQuAD 1.1.
train_bert_base() {
  local way=$1 output=${2:-bert_base_output}
  local model=${BERT_BASE_DIR:-uncased_L-12_H-768_A-12} data=${DATA_DIR:-data}
  shift $(($# < 2 ? $# : 2))
  _need_base_files "$model" "$data"
  _train "$way" "$output" "$data/train-v1.1.json" "$data/dev-v1.1.json" \
    --vocab_file="$model/vocab.txt" \
    --bert_config_file="$model/bert_config.json" \
    --init_checkpoint="$model/bert_model.ckpt" \
    --train_batch_size="${BATCH:-12}" \
    --learning_rate="${LEARNING_RATE:-3e-5}" \
    --num_train_epochs="${EPOCHS:-2}" \
    --max_seq_length=384 --doc_stride=128 \
    "$@"
}

# _train dp|pipe <output directory> <training file> <file to answer> <flag...>
# The worker with the answers scores them. Of two equal flags the later counts.
_train() {
  local way=$1 output=$2 train=$3 dev=$4 flags=()
  shift 4
  if [[ "$way" == pipe && -n "${NUM_PIPE_STAGES:-}" ]]; then
    flags+=(--num_pipe_stages="$NUM_PIPE_STAGES")
  fi
  if [[ -n "${NUM_MICRO_BATCH:-}" ]]; then flags+=(--num_micro_batch="$NUM_MICRO_BATCH"); fi
  python "$(_bert)/run_squad_$way.py" \
    --do_train --train_file="$train" \
    --do_predict --predict_file="$dev" \
    --seed="${SEED:-1}" \
    --output_dir="$output" \
    ${flags[@]+"${flags[@]}"} \
    "$@"
  if [[ "${EPL_WORKER_INDEX:-0}" == 0 ]]; then
    python "$(_bert)/evaluate-v1.1.py" "$dev" "$output/predictions.json"
  fi
}

_bert() {  # prints the example's directory
  (cd "$(dirname "${BASH_SOURCE[0]}")/../../examples/bert" && pwd)
}

# _need_base_files <directory of the weights> <directory of the data>
# Ends the script with 2 if something is missing, and says how to get it.
_need_base_files() {
  local model=$1 data=$2 file part missing=()
  for file in "$model"/{vocab.txt,bert_config.json,bert_model.ckpt.index} \
              "$data"/{train,dev}-v1.1.json; do
    [[ -e "$file" ]] || missing+=("$file")
  done
  if ((${#missing[@]} == 0)); then return 0; fi
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
}
