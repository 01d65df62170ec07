# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# Which Python an environment is made of. Sourced.

# python_versions tf1|tf2: those that its TensorFlow has releases for, the preferred first.
python_versions() {
  case $1 in
    tf1) echo 3.7 ;;
    tf2) echo 3.11 3.10 3.9 ;;
  esac
}

# Names the interpreter itself, not the virtual environment or the link in front of it: an
# environment must not be made of another one. The imports are those that `python -m venv` and pip
# need and that distributions leave out.
_DESCRIBE='
import ctypes, ensurepip, os, platform, ssl, sys, venv, zlib
path = os.path.realpath(sys.executable)
if sys.prefix != sys.base_prefix:
    path = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
print(platform.python_version(), path)
'

describe_python() {  # <command>: prints "<version> <path>"; fails if it does not run or lacks parts
  [ -n "$1" ] && command -v "$1" >/dev/null && "$1" -I -c "$_DESCRIBE" 2>/dev/null
}

_candidates() {  # <version>: where a Python of that version may be, the best first, one a line
  printf '%s\n' "python$1"
  find "${PYENV_ROOT:-$HOME/.pyenv}/versions" -maxdepth 1 -name "$1.*" 2>/dev/null \
    | sort -rV | sed "s|\$|/bin/python$1|" || true
  uv python find --system "$1" 2>/dev/null || true
  printf '%s\n' python3 python
}

# find_python_version <version>...: prints "<version> <path>" of the first that there is; fails if
# there is none. $PYTHON comes first, if it is one of the versions wanted.
find_python_version() {
  local version candidate found
  if found=$(describe_python "${PYTHON:-}"); then
    for version in "$@"; do
      case $found in "$version".*) echo "$found"; return 0 ;; esac
    done
  fi
  for version in "$@"; do
    while read -r candidate; do
      found=$(describe_python "$candidate" </dev/null) || continue
      case $found in "$version".*) echo "$found"; return 0 ;; esac
    done < <(_candidates "$version")
  done
  return 1
}

# find_python tf1|tf2: the Python to use for it, as find_python_version prints it.
find_python() {
  # shellcheck disable=SC2046
  find_python_version $(python_versions "$1")
}

# choose_environment [tf1|tf2]: prints the one asked for, else that of $EPL_TENSORFLOW, else tf1 if
# there is a Python for it (TensorFlow 1.15 was released for x86_64 alone).
choose_environment() {
  case ${1:-${EPL_TENSORFLOW:-}} in
    tf1 | tf2) echo "$1" ;;
    *==1.*) echo tf1 ;;
    *==2.*) echo tf2 ;;
    *)
      if [ "$(uname -m)" = x86_64 ] && find_python tf1 >/dev/null; then
        echo tf1
      else
        echo tf2
      fi
      ;;
  esac
}

use_environment() {  # <directory>: `python` and `epl-launch` are now that environment's
  export VIRTUAL_ENV=$1 PATH=$1/bin:$PATH
  unset PYTHONHOME PYTHONPATH  # they would bring another Python's packages
}
