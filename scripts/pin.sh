#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/pin.sh <TensorFlow> <Python>       scripts/pin.sh 2.16.2 3.12
#
# Writes scripts/requirements/tf-<TensorFlow>.txt: one version of every package that tests,
# benchmarks and Horovod's build need beside this TensorFlow, for this Python. scripts/matrix.sh
# and EPL_TENSORFLOW in scripts/setup.sh install these files; they are complete, so with --no-deps.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=/dev/null
source "$here/lib/report.sh"
# shellcheck source=/dev/null
source "$here/lib/python.sh"
[ $# -eq 2 ] || { sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

tensorflow=$1 version=$2
file=$here/requirements/tf-$tensorflow.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# TensorFlow takes NumPy 2 from version 2.18 on, has `tf.layers` only with tf-keras from 2.16 on.
# Horovod does not build with setuptools 70. TensorFlow 2.20 calls protobuf as 7 is no more called.
wanted() {
  local minor=${tensorflow#2.}
  minor=${minor%%.*}
  echo "tensorflow-cpu==$tensorflow"
  [ "$minor" -ge 18 ] || echo "numpy<2"
  [ "$minor" -lt 16 ] || echo "tf-keras==2.$minor.*"
  [ "$minor" -ne 20 ] || echo "protobuf<7"
  printf '%s\n' pytest pytest-timeout pytest-xdist matplotlib psutil cloudpickle packaging PyYAML \
    cffi wheel "setuptools<70"
}

python=$(find_python_version "$version") || fail "there is no Python $version"
"${python#* }" -m venv "$scratch/venv"
wanted >"$scratch/wanted"
"$scratch/venv/bin/python" -m pip install --quiet "pip>=23"
"$scratch/venv/bin/python" -m pip install --quiet --dry-run --ignore-installed \
  --only-binary :all: --report "$scratch/report" -r "$scratch/wanted"
{
  echo "# Python $version, made by scripts/pin.sh"
  # tf-keras asks for the TensorFlow for GPUs, which would take the place of the one for CPUs.
  "$scratch/venv/bin/python" - "$scratch/report" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as file:
    found = {entry["metadata"]["name"].replace("_", "-"): entry["metadata"]["version"]
             for entry in json.load(file)["install"]}
found.pop("tensorflow", None)
for name in sorted(found, key=str.lower):
    print("{}=={}".format(name, found[name]))
PYTHON
} >"$scratch/pinned"
mv "$scratch/pinned" "$file"
say "$file: $(grep -c == "$file") packages"
