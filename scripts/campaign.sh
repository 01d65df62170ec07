#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: scripts/campaign.sh [tf1|tf2] [--seed N] [--count N] [--seconds S] [--kinds KIND,...]
#                            [--layouts LAYOUT,...]
#        scripts/campaign.sh [tf1|tf2] --hosts [--scenes NAME,...] [--ways ssh,machine_list]
#
# Makes the environment ready (scripts/setup.sh), starts jobs of two workers of which one dies at a
# random time in one of six ways, starts each again, and prints what became of them. 100 deaths
# (the default) take about half an hour; --seconds bounds that, --seed N --count 1 repeats one.
# --layouts across2,across4: one replica or two, each over two workers; tf2 --help has all names.
# With --hosts: what becomes of jobs of two machines (network namespaces: root, an ssh server,
# /dev/net/tun) when the line or a machine fails, or the line is slow; about a quarter of an hour.

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
module=tests.campaign
if [[ ${1:-} == --hosts ]]; then
  module=tests.campaign.hosts
  shift
fi
CUDA_VISIBLE_DEVICES="" exec python -m "$module" "$@"
