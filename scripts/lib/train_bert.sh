# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# Training, answering and scoring with the BERT example, whatever runs it. Sourced.
#
# Every option is a variable of the environment, and a flag of the Python scripts. Those with a
# value are printed at the start with it, the others by name.

# NAME:flag. An option that is not set is left to the Python script.
readonly _OPTIONS="
  TRAIN_FILE:train_file PREDICT_FILE:predict_file DO_TRAIN:do_train DO_PREDICT:do_predict
  VOCAB_FILE:vocab_file BERT_CONFIG_FILE:bert_config_file INIT_CHECKPOINT:init_checkpoint
  DO_LOWER_CASE:do_lower_case
  BATCH:train_batch_size EPOCHS:num_train_epochs LEARNING_RATE:learning_rate
  WARMUP_PROPORTION:warmup_proportion SEED:seed SAVE_STEPS:save_checkpoints_steps PROFILE:profile
  MAX_SEQ_LENGTH:max_seq_length DOC_STRIDE:doc_stride MAX_QUERY_LENGTH:max_query_length
  MAX_ANSWER_LENGTH:max_answer_length N_BEST_SIZE:n_best_size PREDICT_BATCH:predict_batch_size
  VERSION_2:version_2_with_negative NULL_SCORE_DIFF_THRESHOLD:null_score_diff_threshold
  FEATURE_CACHE_DIR:feature_cache_dir FEATURE_PROCESSES:feature_processes
  NUM_PIPE_STAGES:num_pipe_stages NUM_MICRO_BATCH:num_micro_batch GC:gc AMP:amp ZERO:zero
  OFFLOAD:offload APPLY_GROUPS:apply_groups MEMORY_LIMIT_MB:memory_limit_mb"

# train_bert_tiny dp|pipe [output directory [flag...]]
# From random weights, on the embedded sample.
train_bert_tiny() {
  local way=$1 output=${2:-bert_tiny_output} sample
  shift $(($# < 2 ? $# : 2))
  sample=$(_bert)/sample
  _defaults VOCAB_FILE="$sample/vocab.txt" BERT_CONFIG_FILE="$sample/bert_config.json" \
    TRAIN_FILE="$sample/train.json" PREDICT_FILE="$sample/dev.json" \
    BATCH=64 EPOCHS=15 LEARNING_RATE=1.5e-3 PREDICT_BATCH=32 \
    MAX_SEQ_LENGTH=52 MAX_QUERY_LENGTH=16 DOC_STRIDE=32 MAX_ANSWER_LENGTH=8
  _train "$way" "$output" "$@"
}

# train_minilm dp|pipe [output directory [flag...]]
# From the weights that scripts/get_minilm.sh gets, on SQuAD.
train_minilm() {
  local way=$1 output=${2:-minilm_output}
  shift $(($# < 2 ? $# : 2))
  _defaults MINILM_DIR=data/minilm DATA_DIR=data BATCH=16 EPOCHS=2 LEARNING_RATE=1e-4 \
    MAX_SEQ_LENGTH=256 DOC_STRIDE=128
  _pretrained "$MINILM_DIR" \
    "MINILM_DIR|$(_scripts)/get_minilm.sh \"$MINILM_DIR\""
  _train "$way" "$output" "$@"
}

# train_bert_base dp|pipe [output directory [flag...]]
# From the public weights, on SQuAD.
train_bert_base() {
  _train_public BERT_BASE_DIR uncased_L-12_H-768_A-12 2020_02_20 bert_base_output "$@"
}

# train_bert_large dp|pipe [output directory [flag...]]
# From the public weights, on SQuAD.
train_bert_large() {
  _train_public BERT_LARGE_DIR uncased_L-24_H-1024_A-16 2018_10_18 bert_large_output "$@"
}

# _train_public <variable of the weights' directory> <model> <its release>
#   <default output directory> dp|pipe [output directory [flag...]]
_train_public() {
  local variable=$1 model=$2 release=$3 way=$5 output=${6:-$4}
  shift $(($# < 6 ? $# : 6))
  _defaults "$variable=$model" DATA_DIR=data BATCH=12 EPOCHS=2 LEARNING_RATE=3e-5 \
    MAX_SEQ_LENGTH=384 DOC_STRIDE=128
  _limit_to_gpu
  _pretrained "${!variable}" \
    "$variable|$(_public_weights "${!variable}" "$release/$model.zip")"
  _train "$way" "$output" "$@"
}

# _defaults NAME=value...
# Gives a value to each variable that has none.
_defaults() {
  local assignment name
  for assignment in "$@"; do
    name=${assignment%%=*}
    [[ -n "${!name:-}" ]] || printf -v "$name" %s "${assignment#*=}"
  done
}

# _pretrained <directory of the weights> "<its variable>|<commands that get it>"
# The files of a pre-trained model and of the data are the default ones; all must be there.
_pretrained() {
  local model=$1 version=v1.1
  if _is_true "${VERSION_2:-}"; then version=v2.0; fi
  _defaults VOCAB_FILE="$model/vocab.txt" BERT_CONFIG_FILE="$model/bert_config.json" \
    INIT_CHECKPOINT="$model/bert_model.ckpt" \
    TRAIN_FILE="$(_data_file train "$version")" PREDICT_FILE="$(_data_file dev "$version")"
  _need_files "$version" "${2%%|*}" "${2#*|}"
}

# _data_file train|dev v1.1|v2.0
# Prints the file's path in DATA_DIR; train.json and dev.json count where the official names fail.
_data_file() {
  if [[ ! -e "$DATA_DIR/$1-$2.json" && -e "$DATA_DIR/$1.json" ]]; then
    echo "$DATA_DIR/$1.json"
  else
    echo "$DATA_DIR/$1-$2.json"
  fi
}

# _need_files v1.1|v2.0 <variable of the weights' directory> <commands that get the weights>
# Ends the script with 2 if something is missing, and says how to get it.
_need_files() {
  local file part missing=()
  for file in "$VOCAB_FILE" "$BERT_CONFIG_FILE" "$INIT_CHECKPOINT.index" "$TRAIN_FILE" \
              "$PREDICT_FILE"; do
    [[ -e "$file" ]] || missing+=("$file")
  done
  if ((${#missing[@]} == 0)); then return 0; fi
  {
    echo "error: missing: ${missing[*]}"
    echo "Point $2 and DATA_DIR to the files, or get them:"
    printf '  %s\n' "${3//$'\n'/$'\n'  }"
    echo "  mkdir -p \"$DATA_DIR\""
    for part in train dev; do
      echo "  curl -L -o \"$DATA_DIR/$part-$1.json\"" \
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/$part-$1.json"
    done
  } >&2
  exit 2
}

# _limit_to_gpu
# A run that needs more memory than the smallest GPU has ends before it begins.
_limit_to_gpu() {
  local memory
  memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits 2>/dev/null |
    sort -n | head -n 1) || memory=
  if [[ "$memory" =~ ^[0-9]+$ ]]; then _defaults MEMORY_LIMIT_MB="$memory"; fi
}

_public_weights() {  # <directory> <archive>: prints the commands that get them
  echo "curl -LO https://storage.googleapis.com/bert_models/$2"
  echo "unzip -j ${2##*/} -d \"$1\""
}

# _train dp|pipe <output directory> <flag...>
# The worker with the answers scores them. Of two equal flags the later counts.
_train() {
  local way=$1 output=$2 option name unset="" flags=() lines=()
  shift 2
  _defaults DO_TRAIN=true DO_PREDICT=true SEED=1
  _take_flags "$@"
  for option in $_OPTIONS; do
    name=${option%%:*}
    if [[ "$way" == dp && "$name" == NUM_PIPE_STAGES ]]; then continue; fi
    if [[ -z "${!name:-}" ]]; then
      unset+=" $name"
    else
      lines+=("  $name=${!name}")
      flags+=("--${option#*:}=${!name}")
    fi
  done
  if [[ "${EPL_WORKER_INDEX:-0}" == 0 ]]; then
    echo "run_squad_$way.py with"
    printf '%s\n' "${lines[@]}" "  not set:$unset" "  output directory: $output" \
      "  flags after the script: ${*:-none}"
  fi
  local begin
  begin=$(date +%s)
  python "$(_bert)/run_squad_$way.py" --output_dir="$output" "${flags[@]}" "$@"
  if [[ "${EPL_WORKER_INDEX:-0}" == 0 ]] && _is_true "$DO_PREDICT" \
      && _answered_since "$begin" "$output"; then _score "$output"; fi
}

# _take_flags <flag...>
# A flag --name=value wins over its variable, also for what is printed and scored.
_take_flags() {
  local option flag
  for flag in "$@"; do
    for option in $_OPTIONS; do
      if [[ "$flag" == "--${option#*:}="* ]]; then printf -v "${option%%:*}" %s "${flag#*=}"; fi
    done
  done
}

_answered_since() {  # <Unix time> <output directory>: not by a training that was asked to stop
  [[ -e "$2/predictions.json" ]] && (($(stat -c %Y "$2/predictions.json") >= $1))
}

_score() {  # <output directory>
  if _is_true "${VERSION_2:-}"; then
    python "$(_bert)/evaluate-v2.0.py" "$PREDICT_FILE" "$1/predictions.json" \
      --na-prob-file "$1/null_odds.json" --na-prob-thresh 1e9
  else
    python "$(_bert)/evaluate-v1.1.py" "$PREDICT_FILE" "$1/predictions.json"
  fi
}

_is_true() {  # <value>: as the Python scripts read it
  case $1 in [Tt]rue | TRUE | 1 | [Yy]es | YES) return 0 ;; *) return 1 ;; esac
}

_bert() {  # prints the example's directory
  (cd "$(dirname "${BASH_SOURCE[0]}")/../../examples/bert" && pwd)
}

_scripts() {  # prints the directory of the scripts
  (cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
}
