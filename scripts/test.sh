#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/test.sh [--fast] [--half even|odd] [tf1|tf2] [arguments of pytest]
#
# Makes the environment ready (scripts/setup.sh) and runs the tests in it, on CPUs. Paths among the
# arguments are relative to the repository:  scripts/test.sh tf2 tests/unit -k config -x
#
# --fast runs those marked as fast: units, single passes, one case of each model against plain
# TensorFlow, one job of two workers. For the whole, leave it out.
#
# --half runs half of the cases of those tests that have many; "even" in one environment and "odd" in
# the other have all, with each version of TensorFlow about half of what goes with each value.
#
# Without arguments of pytest every core runs tests. With arguments one process runs them, one after
# the other; "-n 4 --dist loadgroup" among them asks for four.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
# shellcheck source=/dev/null
source "$here/lib/python.sh"

fast=
half=
name=
while [ $# -gt 0 ]; do
  case $1 in
    --fast) fast=yes; shift ;;
    --half) half=${2:?--half needs "even" or "odd"}; shift 2 ;;
    tf1 | tf2) [ -z "$name" ] || break; name=$1; shift ;;
    -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0 ;;
    *) break ;;
  esac
done
name=$(choose_environment "$name")
"$here/setup.sh" "$name"
use_environment "$root/.venv-$name"
cd "$root"
# One more than there are cores: some tests wait for processes that wait for something.
if [ $# -eq 0 ]; then set -- -n $(($(nproc) + 1)) --dist loadgroup; fi
CUDA_VISIBLE_DEVICES="" exec python -m pytest ${fast:+-m fast} ${half:+--half "$half"} "$@"
