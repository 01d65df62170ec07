#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/matrix.sh [--write] [--all | --few | --sample] [--make] [--directory <directory>]
#                          [<TensorFlow>...]
#
#   scripts/matrix.sh 2.12.1 2.21.0 intel-tensorflow==1.15.2
#
# Makes an environment for each of these versions of TensorFlow (without any: for all that are
# supported), runs in it those of the fast tests that build graphs (tests/graph, tests/loopback,
# tests/examples; with --all the others too, which build none; with --few those of what differs
# between versions, of Keras, Estimator, the BERT example and one case of each model; with --sample
# none) and the sample of the README, and prints a row of the table of docs/versions.md, which --write
# puts there. From 2.16 on there are two rows: with Keras 3, and with tf-keras
# (TF_USE_LEGACY_KERAS=1). The environments are without Horovod, whose build takes minutes; they are
# kept in <directory>/.venv-<TensorFlow> (without --directory: beside this repository's others); with
# --make they are made, and nothing is run.
#
# Exit code 0: no test failed, and the sample printed the README's losses everywhere.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
for part in report python requirements; do
  # shellcheck source=/dev/null
  source "$here/lib/$part.sh"
done

readonly SAMPLE="22.474 17.660 13.907"
# Releases of 1.15 beside that of tf1.txt; two are builds of others.
readonly MORE_OF_1_15="tensorflow==1.15.0 tensorflow==1.15.2 tensorflow==1.15.3 tensorflow==1.15.4
  intel-tensorflow==1.15.2 tensorflow-directml==1.15.8"
readonly FEW=(
  tests/graph/test_tensorflow_versions.py tests/graph/test_keras.py tests/graph/test_estimator.py
  tests/graph/test_equivalence.py tests/examples
)

# The requirement for a version, in words of the command line: 2.12.1, or a requirement itself.
requirement() {
  local file
  case $1 in
    *==*) echo "$1" ;;
    *)
      file=$(requirements_file "tensorflow==$1") || fail "'$1': there is no file of packages for" \
        "this TensorFlow, only for $(known_tensorflows) and all of 1.15 (scripts/pin.sh makes one)"
      [ "$1" != "$(tensorflow_in "$file" | sed 's/.*==//')" ] || { tensorflow_in "$file"; return; }
      echo "tensorflow==$1"
      ;;
  esac
}

all_requirements() {
  local version
  tr -s ' ' '\n' <<<"$MORE_OF_1_15"
  for version in $(known_tensorflows); do requirement "$version"; done
}

short() {  # <requirement>: 2.12.1, or with the name of a build of others
  sed -E 's/^tensorflow(-cpu)?==//; s/==/ /' <<<"$1"
}

# make_environment <requirement> <virtual environment>: makes it, unless it is there already.
make_environment() {
  local found state more=()
  case $(requirements_file "$1") in
    */tf-*) ;;
    *) more=(-r "$here/requirements/lint.txt") ;;  # as in scripts/setup.sh; it has what tests need
  esac
  # shellcheck disable=SC2046
  found=$(PYTHON="" find_python_version $(pythons_of "$(requirements_file "$1")")) \
    || fail "$1 needs Python $(pythons_of "$(requirements_file "$1")")"
  state=$({ requirements_of "$1"; echo "$found $2"; } | sha256sum)
  [ "$(cat "$2/.state" 2>/dev/null)" != "$state" ] || return 0
  rm -rf "$2"
  "${found#* }" -m venv "$2"
  requirements_of "$1" >"$2/requirements.txt"
  "$2/bin/python" -m pip install -qq --no-deps -r "$2/requirements.txt" "${more[@]}"
  echo "$state" >"$2/.state"
}

# fast_tests <python> <report>: in as many processes as there are cores; fails with the tests.
# Those of the suite itself (which tests there are) say nothing of TensorFlow, and take long.
fast_tests() {
  cd "$root"
  "$1" -W ignore -m pytest "${tests[@]}" -m fast -q -p no:cacheprovider --junitxml "$2" \
    --deselect tests/unit/test_suite.py -n "$(nproc)" --dist loadgroup
}

# sample <python> <directory>: prints the losses of README's sample on two devices.
sample() {
  "$1" -W ignore -m epl.launcher --num_workers 1 --gpu_per_worker 2 --log_dir "$2" \
    "$root/examples/small/pipeline.py" >"$2.log" 2>&1
  sed -n 's/^step [0-9]  loss //p' "$2/0/stdout.log" | tr '\n' ' ' | sed 's/ $//'
}

# row <requirement> <python> <Keras asked for: "", or tf-keras>: runs, and notes a row.
row() {
  local start=$SECONDS about="$(short "$1")${3:+ $3}" scratch=$scratch/$rows losses code=0 report
  mkdir "$scratch"
  report=
  if [ ${#tests[@]} -gt 0 ]; then
    report=$scratch/report.xml
    fast_tests "$2" "$report" >"$scratch/tests.log" 2>&1 || code=$?
  fi
  losses=$(sample "$2" "$scratch/sample" || true)
  [ "$losses" = "$SAMPLE" ] || code=1
  rows=$((rows + 1))
  "$2" -W ignore "$here/lib/versions_table.py" row "$about" "$which" "$report" "$losses" \
    | tee -a "$table" || code=1
  if [ "$code" -ne 0 ]; then
    failed=1
    if [ -n "$report" ]; then
      grep -E '^(FAILED|ERROR|E  )' "$scratch/tests.log" | head -40 || tail -30 "$scratch/tests.log"
    fi
    [ "$losses" = "$SAMPLE" ] || tail -30 "$scratch/sample.log"
  fi
  say "$about: $((SECONDS - start)) s"
}

directory=$root write= make= asked=() which=graphs tests=(tests/graph tests/loopback tests/examples)
while [ $# -gt 0 ]; do
  case $1 in
    --write) write=yes ;;
    --make) make=yes ;;
    --all) which=all tests=(tests) ;;
    --few) which=few tests=("${FEW[@]}") ;;
    --sample) which=none tests=() ;;
    --directory) directory=$(cd "$2" && pwd -P); shift ;;
    -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) fail "'$1' is no option; see --help" ;;
    *) asked+=("$(requirement "$1")") ;;
  esac
  shift
done
[ ${#asked[@]} -gt 0 ] || mapfile -t asked < <(all_requirements)
unset PYTHONHOME PIP_TARGET PIP_PREFIX
export PYTHONPATH=$root PYTHONDONTWRITEBYTECODE=1 CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=1 \
  PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
table=$scratch/table rows=0 failed=0
for one in "${asked[@]}"; do
  venv=$directory/.venv-${one##*==}
  case $one in intel-* | *-directml*) venv=$directory/.venv-${one//==/-} ;; esac
  start=$SECONDS
  make_environment "$one" "$venv"
  say "$(short "$one"): environment after $((SECONDS - start)) s"
  [ -z "$make" ] || continue
  row "$one" "$venv/bin/python" ""
  if grep -q '^tf-keras==' "$venv/requirements.txt"; then
    TF_USE_LEGACY_KERAS=1 row "$one" "$venv/bin/python" tf-keras
  fi
done
if [ -n "$write" ]; then
  "$venv/bin/python" "$here/lib/versions_table.py" write "$root/docs/versions.md" "$table"
fi
exit "$failed"
