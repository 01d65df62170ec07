#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/test.sh [tf1|tf2] [arguments of pytest]
#
# Makes the environment ready (scripts/setup.sh) and runs the tests in it, on CPUs. Paths among the
# arguments are relative to the repository:  scripts/test.sh tf2 tests/unit -k config -x

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
# shellcheck source=/dev/null
source "$here/lib/python.sh"

case ${1:-} in
  -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  tf1 | tf2) name=$1; shift ;;
  *) name=$(choose_environment) ;;
esac
"$here/setup.sh" "$name"
use_environment "$root/.venv-$name"
cd "$root"
CUDA_VISIBLE_DEVICES="" exec python -m pytest "$@"
