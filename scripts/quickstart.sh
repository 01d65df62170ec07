#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/quickstart.sh [tf1|tf2]
#
# The main job, end to end: two data-parallel workers train a tiny BERT from random weights on the
# embedded questions, answer the held-out ones, and are scored. Exit code 0 means an F1 of at
# least 80.
#
# Nothing is compiled: the workers exchange through shared memory. HOROVOD=1 connects them by Horovod,
# which is compiled first (2 to 8 minutes, once).

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
# shellcheck source=/dev/null
source "$here/lib/report.sh"
# shellcheck source=/dev/null
source "$here/lib/python.sh"

readonly F1_GOAL=80

export HOROVOD=${HOROVOD:-0}
case $HOROVOD in
  0) export EPL_COMMUNICATION_COMMUNICATOR=shared_memory ;;
  *) export EPL_COMMUNICATION_COMMUNICATOR=horovod ;;
esac

case ${1:-} in
  -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  "" | tf1 | tf2) ;;
  *) echo "quickstart.sh: error: '$1' is no environment; use tf1 or tf2" >&2; exit 2 ;;
esac
name=$(choose_environment "${1:-}")
cd "$root"
# Its name ends in the process id: two quickstarts may start in the same second.
outputs=experiments/quickstart-$(date +%Y%m%d-%H%M%S)-$$
sample=examples/bert/sample/dev.json
predictions=$outputs/0/predictions.json

say "1/3 the environment .venv-$name (scripts/setup.sh $name)"
"$here/setup.sh" "$name"
use_environment "$root/.venv-$name"

command=(epl-launch --num_workers 2 --log_dir "$outputs" scripts/train_bert_tiny_dp.sh)
say "2/3 two workers train and answer: ${command[*]}"
"${command[@]}"

say "3/3 the score of $predictions"
[ -s "$predictions" ] || fail "training ended without $root/$predictions; its logs are in $outputs"
python examples/bert/evaluate-v1.1.py "$sample" "$predictions" >"$outputs/scores.json"
python - "$outputs/scores.json" "$F1_GOAL" <<'PYTHON' || fail "that is not what it should reach"
import json
import sys

path, goal = sys.argv[1], float(sys.argv[2])
with open(path) as file:
    scores = json.load(file)
print("  exact match {exact_match:.2f}, F1 {f1:.2f}".format(**scores), "(goal: F1 >= %g)" % goal)
sys.exit(not scores["f1"] >= goal)
PYTHON
cat <<END
  answers      $root/$predictions
  scores       $root/$outputs/scores.json
  checkpoints  $root/$outputs/0/
  logs         $root/$outputs/<worker>/stdout.log and stderr.log
END
