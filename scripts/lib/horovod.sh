# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# Horovod, compiled against the TensorFlow of an environment and kept for the next one. Sourced.

# Gloo alone, and no framework that is not used here. What the caller has exported wins, so that
# HOROVOD_GPU_OPERATIONS=NCCL or HOROVOD_WITH_MPI=1 give another build.
export_horovod_options() {
  export HOROVOD_WITH_TENSORFLOW=${HOROVOD_WITH_TENSORFLOW-1}
  export HOROVOD_WITH_GLOO=${HOROVOD_WITH_GLOO-1}
  export HOROVOD_CPU_OPERATIONS=${HOROVOD_CPU_OPERATIONS-GLOO}
  [ -n "${HOROVOD_WITH_MPI:-}" ] || export HOROVOD_WITHOUT_MPI=${HOROVOD_WITHOUT_MPI-1}
  [ -n "${HOROVOD_WITH_PYTORCH:-}" ] || export HOROVOD_WITHOUT_PYTORCH=${HOROVOD_WITHOUT_PYTORCH-1}
  [ -n "${HOROVOD_WITH_MXNET:-}" ] || export HOROVOD_WITHOUT_MXNET=${HOROVOD_WITHOUT_MXNET-1}
  # CMake 4 refuses Horovod's copy of Gloo, written for CMake 2.8, unless told to take it.
  export CMAKE_POLICY_VERSION_MINIMUM=${CMAKE_POLICY_VERSION_MINIMUM-3.5}
  export MAKEFLAGS=${MAKEFLAGS--j$(_compile_jobs)}
}

# horovod_builds_for <version of TensorFlow>: the last that Horovod 0.28.1 was built for is 2.16.2;
# from 2.19 on it lacks headers.
horovod_builds_for() {
  printf '%s\n' "$1" 2.16.2 | sort -V -C
}

horovod_options() {  # the options that make one build differ from another, sorted
  env | LC_ALL=C grep -E '^(HOROVOD_(WITH|WITHOUT|CPU|GPU|ALLOW|BUILD|NCCL|CUDA|ROCM|MPI)[A-Z_]*)=' \
    | LC_ALL=C sort
}

_compile_jobs() {  # one per core, but a unit with TensorFlow's headers takes up to 2 GB of memory
  local jobs memory_gb
  jobs=$(nproc)
  memory_gb=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  [ "$jobs" -le $((memory_gb / 2)) ] || jobs=$((memory_gb / 2))
  [ "$jobs" -ge 1 ] || jobs=1
  echo "$jobs"
}

# wheel_directory <Python version> <TensorFlow requirement> <Horovod requirement>
# Where the compiled wheel is kept: one directory for everything that it depends on.
wheel_directory() {
  local cache=${EPL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/epl} options
  options=$(horovod_options | sha256sum | cut -c1-8)
  printf '%s/wheels/%s_py%s_%s_%s-%s_%s\n' "$cache" "${3//==/-}" "${1%.*}" "${2//==/-}" \
    "$(uname -sm | tr ' ' '-')" "$(_libc)" "$options"
}

_libc() {
  getconf GNU_LIBC_VERSION 2>/dev/null | tr ' ' '-' || echo libc
}

cached_wheel() {  # <wheel directory>: prints the wheel's path, fails if there is none
  local wheel
  for wheel in "$1"/*.whl; do
    [ -s "$wheel" ] && echo "$wheel" && return 0
  done
  return 1
}

# build_horovod <python of the environment> <wheel directory> <requirement>
# Compiles it beside its place and renames it: whatever interrupts this, no half wheel is found.
build_horovod() {
  local build
  mkdir -p "$2"
  exec 8<"$2"
  flock 8 || true  # on a file system without locks, two builds at once are merely slow
  if cached_wheel "$2"; then return 0; fi
  rm -rf "$2"/build.*
  build=$(mktemp -d "$2/build.XXXXXX")
  TMPDIR=$build "$1" -m pip wheel --verbose --no-build-isolation --no-deps --no-cache-dir \
    --no-binary horovod --wheel-dir "$build/out" "$3"
  mv "$build"/out/*.whl "$2"
  rm -rf "$build"
}

# try_wheel <python of the environment> <wheel>: installs it and looks whether it works.
try_wheel() {
  "$1" -m pip install --no-deps --no-index --force-reinstall "$2" \
    && (cd / && "$1" -c "
import horovod.tensorflow as hvd
assert hvd.gloo_built() or hvd.mpi_built(), 'Horovod has neither Gloo nor MPI'")
}

# install_horovod <python of the environment> <wheel directory> <requirement>
# A kept wheel that does not work here (a damaged file, another compiler's library) is built anew.
install_horovod() {
  local wheel
  if wheel=$(cached_wheel "$2") && try_wheel "$1" "$wheel"; then return 0; fi
  rm -f "$2"/*.whl
  build_horovod "$@"
  try_wheel "$1" "$(cached_wheel "$2")"
}
