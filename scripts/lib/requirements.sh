# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# Which packages belong to a TensorFlow, and which Python. Sourced.

_REQUIREMENTS=$(dirname "${BASH_SOURCE[0]}")/../requirements
_TENSORFLOW='^(intel-)?tensorflow(-cpu|-gpu|-directml)?==[0-9.]+$'

# requirements_file <requirement>: the file of the packages of a TensorFlow such as
# tensorflow==2.16.2; fails if there is none. All of 1.15 share one.
requirements_file() {
  local version=${1##*==}
  [[ $1 =~ $_TENSORFLOW ]] || return 1
  case $version in
    1.15.*) echo "$_REQUIREMENTS/tf1.txt" ;;
    2.15.*) echo "$_REQUIREMENTS/tf2.txt" ;;
    *) [ -f "$_REQUIREMENTS/tf-$version.txt" ] && echo "$_REQUIREMENTS/tf-$version.txt" ;;
  esac
}

# requirements_of <requirement>: its packages, that TensorFlow among them.
requirements_of() {
  local file
  file=$(requirements_file "$1") || return 1
  grep -Ev "$_TENSORFLOW" "$file"
  echo "$1"
}

# tensorflow_in <file>: the requirement of TensorFlow in a file of packages.
tensorflow_in() {
  grep -E "$_TENSORFLOW" "$1"
}

# pythons_of <file>: the Pythons that a file of packages is for, the preferred first.
pythons_of() {
  case $1 in
    */tf1.txt) python_versions tf1 ;;
    */tf2.txt) python_versions tf2 ;;
    *) sed -n '1s/^# Python \([0-9.]*\).*/\1/p' "$1" ;;
  esac
}

# known_tensorflows: the versions that have a file, the oldest first.
known_tensorflows() {
  local file
  for file in "$_REQUIREMENTS"/tf*.txt; do
    tensorflow_in "$file"
  done | sed 's/.*==//' | sort -V | tr '\n' ' ' | sed 's/ $//'
}
