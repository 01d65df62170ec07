#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/setup.sh [tf1|tf2]
#
# Makes the virtual environment .venv-tf1 (Python 3.7, TensorFlow 1.15) or .venv-tf2 (Python 3.9 to
# 3.11, TensorFlow 2.15) with Horovod, EPL and all that tests and benchmarks need, and the link
# .venv to it. Without an argument: tf1 if a Python 3.7 is found, else tf2.
#
# Seconds when nothing has changed. May be interrupted, run twice at once, and run in a copy of the
# repository: an environment that is not complete, or was made elsewhere, is made anew.
#
# Environment:
#   PYTHON          the Python to use, if it has a fitting version
#   HOROVOD         0: without Horovod, so nothing is compiled (the tests, and GPUs, want it; workers
#                   of one machine do not); a later run without it adds Horovod
#   EPL_TENSORFLOW  another TensorFlow: tensorflow==2.15.1, tensorflow-gpu==1.15.5, or one that
#                   scripts/requirements has a file for: tensorflow-cpu==2.16.2
#   EPL_CACHE_DIR   where compiled Horovod wheels are kept (default: ~/.cache/epl)
#   HOROVOD_*       Horovod's own build options, such as HOROVOD_GPU_OPERATIONS=NCCL

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
for part in report python requirements horovod preflight; do
  # shellcheck source=/dev/null
  source "$here/lib/$part.sh"
done

usage() {
  sed -n '/^# Usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

# A state is a hash of all that a part of the environment was made from. It is written when that
# part is complete, so a part without its state is made again.
packages_state() {
  {
    cat "$here/setup.sh" "$here"/lib/*.sh "$here/requirements/lint.txt"
    requirements_of "$tensorflow"
    echo "$venv $python_version"
  } | sha256sum
}

horovod_state() {
  { packages_state; echo "$horovod $wheels"; } | sha256sum
}

epl_state() {
  { packages_state; cat "$root"/{pyproject.toml,epl/version.py}; } | sha256sum
}

has_state() {  # packages|horovod|epl
  [ "$(cat "$venv/.$1-state" 2>/dev/null)" = "$("$1_state")" ] \
    && [ "$("$venv/bin/python" -c 'import platform; print(platform.python_version())' \
      2>/dev/null)" = "$python_version" ]
}

write_state() {  # packages|horovod|epl
  "$1_state" >"$venv/.$1-state.new"
  mv "$venv/.$1-state.new" "$venv/.$1-state"
}

make_venv() {
  "$python" -m venv "$venv"
}

install_packages() {
  requirements_of "$tensorflow" >"$venv/requirements.txt"
  case $packages in
    */tf-*) "$venv/bin/python" -m pip install --no-deps -r "$venv/requirements.txt" ;;
    *)
      "$venv/bin/python" -m pip install -r "$venv/requirements.txt" -r "$here/requirements/lint.txt"
      "$venv/bin/python" -m pip check
      ;;
  esac
}

make_packages() {
  rm -f "$venv"/.*-state  # first: without it, whatever is left counts for nothing
  rm -rf "$venv"
  step "$venv/logs" "Python $python_version" make_venv
  step "$venv/logs" "$tensorflow, test and benchmark packages" install_packages
  write_state packages
}

add_horovod() {
  local how="compile and keep it (2 to 8 minutes)"
  if cached_wheel "$wheels" >/dev/null; then how="compiled before"; fi
  step "$venv/logs" "$horovod, $how" install_horovod "$venv/bin/python" "$wheels" "$horovod"
  write_state horovod
}

install_epl() {
  "$venv/bin/python" -m pip install --no-deps --no-index --no-build-isolation --editable "$root"
  cd /
  "$venv/bin/epl-launch" --version
}

link() {
  if [ -e "$root/.venv" ] && [ ! -L "$root/.venv" ]; then
    say "$root/.venv is not a link and stays as it is; use .venv-$name"
    return
  fi
  ln -sfn ".venv-$name" "$root/.venv.new"
  mv -T "$root/.venv.new" "$root/.venv"
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  "" | tf1 | tf2) ;;
  *) echo "setup.sh: error: '$1' is no environment; use tf1 or tf2" >&2; exit 2 ;;
esac
case ${HOROVOD:-1} in
  0 | 1) ;;
  *) echo "setup.sh: error: HOROVOD='$HOROVOD' is neither 0 (without it) nor 1" >&2; exit 2 ;;
esac
if [ $# -gt 1 ]; then
  echo "setup.sh: error: one argument, tf1 or tf2, but got $#: $*" >&2
  exit 2
fi
: "${HOME:=$(cd ~ && pwd)}"
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX  # they would mix other packages in
export HOME PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

name=$(choose_environment "${1:-}")
venv=$root/.venv-$name
tensorflow=${EPL_TENSORFLOW:-$(tensorflow_in "$here/requirements/$name.txt")}
packages=$(requirements_file "$tensorflow") \
  || fail "EPL_TENSORFLOW='$tensorflow' is no TensorFlow that packages are known for; write" \
    "tensorflow==<version> with one of $(known_tensorflows) or another 1.15"
case $name:${tensorflow##*==} in
  tf1:1.* | tf2:2.*) ;;
  *) fail "EPL_TENSORFLOW=$tensorflow is no TensorFlow for $name; leave the argument out" ;;
esac
pythons=$(pythons_of "$packages")
# shellcheck disable=SC2086
found=$(find_python_version $pythons) || preflight "$name" "$pythons" "" ""
python_version=${found%% *} python=${found#* }
export_horovod_options
horovod=
if [ "${HOROVOD:-1}" = 1 ] && horovod_builds_for "${tensorflow##*==}"; then
  horovod=$(grep '^horovod==' "$here/requirements/horovod.txt")
fi
wheels=$(wheel_directory "$python_version" "$tensorflow" "${horovod:-none}")

exec 9<"$root"
if ! flock --nonblock 9; then
  say "waiting for another setup of this repository"
  flock 9
fi
stop_steps_on_signals
if [ -n "$horovod" ] && ! has_state horovod; then
  preflight "$name" "$pythons" "$python" "$wheels"
fi
if ! has_state packages; then
  say "making .venv-$name of $python"
  make_packages
fi
if [ -n "$horovod" ] && ! has_state horovod; then add_horovod; fi
if ! has_state epl; then
  step "$venv/logs" "epl, editable" install_epl
  write_state epl
fi
link
say ".venv-$name is ready: Python $python_version, $tensorflow," \
  "${horovod:-Horovod not asked for, or not built for it}" \
  "(source .venv/bin/activate)"
