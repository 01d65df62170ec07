# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# What must be on the machine before anything is downloaded. Sourced.

readonly CMAKE_LEAST=3.13  # Horovod's demand

# missing_tools: prints what compiling Horovod needs and is not here, with what brings it.
missing_tools() {
  command -v g++ >/dev/null || echo "a C++ compiler, g++ (apt-get install g++; dnf install gcc-c++)"
  _missing_cmake
  command -v make >/dev/null || echo "make (apt-get install make; dnf install make)"
}

_missing_cmake() {
  local version
  if ! command -v cmake >/dev/null; then
    echo "cmake (apt-get install cmake; dnf install cmake)"
    return
  fi
  version=$(cmake --version 2>/dev/null | awk 'NR == 1 { print $3 }')
  printf '%s\n' "$CMAKE_LEAST" "$version" | sort -V -C \
    || echo "cmake $CMAKE_LEAST or later, this one is ${version:-broken} (pip install cmake)"
}

missing_python() {  # <versions, the preferred first>
  local versions=$1 example=${1%% *}
  if [ "$example" = 3.7 ]; then example=3.7.16; fi
  echo "Python ${versions// / or } with venv, pip and ssl, in \$PYTHON, PATH, pyenv or uv" \
    "(pyenv install $example; uv python install ${example%.16}; for a system's own Python also" \
    "apt-get install python3-venv)"
}

# preflight tf1|tf2 <Pythons wanted> <Python found, may be empty> <wheel directory, may be empty>
# Ends the script if something is missing, all of it in one message.
preflight() {
  local missing=""
  [ -n "$3" ] || missing=$(missing_python "$2")$'\n'
  if [ -n "$4" ] && cached_wheel "$4" >/dev/null; then
    missing_tools | sed 's/^/  note: missing, though not needed as Horovod is compiled already: /'
  else
    missing+=$(missing_tools)
  fi
  missing=$(printf '%s' "$missing" | sed '/^$/d; s/^/  - /')
  [ -z "$missing" ] || fail "$1 needs, and this machine does not have:"$'\n'"$missing"
}
