#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/docs.sh [serve]
#
# Builds the site in build/site: all pages, and the interface from its docstrings. What would be a
# warning (a dead link, a page that the navigation lacks, an argument that a docstring names and its
# function does not have) is an error. With "serve" it shows the site at http://127.0.0.1:8000 and
# builds it again whenever a page changes.
#
# Its packages are in .venv-docs; they need Python 3.9 to 3.11, and no TensorFlow.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
# shellcheck source=/dev/null
source "$here/lib/python.sh"

case ${1:-build} in
  build) action=(build --strict) ;;
  serve) action=(serve) ;;
  -h | --help) sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "docs.sh: error: '$1' is nothing to do; use serve, or no argument" >&2; exit 2 ;;
esac
: "${HOME:=$(cd ~ && pwd)}"
unset PYTHONHOME PYTHONPATH
export HOME PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

found=$(find_python tf2) || {
  echo "docs.sh: error: no Python $(python_versions tf2) is found; name one with PYTHON=..." >&2
  exit 1
}
venv=$root/.venv-docs
state=$(echo "$found $venv" | cat - "$here/requirements/docs.txt" | sha256sum)
if [ "$(cat "$venv/.state" 2>/dev/null)" != "$state" ]; then
  rm -rf "$venv"
  "${found#* }" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet -r "$here/requirements/docs.txt"
  echo "$state" >"$venv/.state"
fi
cd "$root"
"$venv/bin/mkdocs" "${action[@]}"
if [ "${action[0]}" = build ]; then echo "the site is in build/site: open build/site/index.html"; fi
