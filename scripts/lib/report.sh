# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
# What a script says, and steps that stay quiet unless they fail. Sourced.

STEP_PID=

say() {
  printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {  # <message>: end the script
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# step <log directory> <title> <command...>
# Runs the command and prints its title and seconds on one line. Its output goes to a file in the
# log directory; if it fails, what matters of that is shown and the script ends with 1.
# The command runs in the background and in its own process group: so `set -e` holds in functions,
# and a signal reaches it and all that it started, at once.
step() {
  local logs=$1 title=$2 log code=0 start=$SECONDS
  shift 2
  mkdir -p "$logs"
  log=$logs/$(printf '%s' "$title" | tr -c 'A-Za-z0-9.\n' '-').log
  printf '  %-58s' "$title"
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  STEP_PID=$!
  set +m
  wait "$STEP_PID" || code=$?
  STEP_PID=
  if [ "$code" -ne 0 ]; then
    printf ' failed after %d s\n' $((SECONDS - start))
    _show_failure "$log" >&2
    fail "'$title' failed (exit code $code). After the cause is removed, run this script again."
  fi
  printf '%5d s\n' $((SECONDS - start))
}

_show_failure() {  # <log>: a compiler's first error may be thousands of lines before the end
  echo "---- the first errors in $1"
  grep -n -m 10 -E 'error:|Error( at|:)|ERROR|No space left|Killed' "$1" || echo "(none found)"
  echo "---- its last lines"
  tail -n 30 "$1"
  echo "----"
}

_interrupted() {  # <exit code>
  trap '' HUP INT TERM
  if [ -n "$STEP_PID" ]; then
    kill -TERM -- "-$STEP_PID" 2>/dev/null || true
    wait "$STEP_PID" 2>/dev/null || true
    printf ' interrupted\n'
  fi
  exit "$1"
}

stop_steps_on_signals() {
  trap '_interrupted 129' HUP
  trap '_interrupted 130' INT
  trap '_interrupted 143' TERM
}
