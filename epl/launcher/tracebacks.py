# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Python tracebacks in the last lines of stderr, and which workers have the same."""

import re
from typing import Dict, List, Mapping, Sequence, Tuple

_BEGIN = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_CHANGING = re.compile(r"0x[0-9a-f]+|\bpid \d+")


def last_traceback(lines: Sequence[str]) -> List[str]:
    """The last traceback in `lines`, with those it is chained to; empty if there is none."""
    begins = [n for n, line in enumerate(lines) if line == _BEGIN]
    if not begins:
        return []
    begin = begins.pop()
    end = begin + 1
    while end < len(lines) - 1 and (lines[end].startswith(" ") or not lines[end]):
        end += 1
    while begins and any(line.startswith(_CHAINED) for line in lines[begins[-1]:begin]):
        begin = begins.pop()
    return list(lines[begin:end + 1])


def groups(tails: Mapping[int, Sequence[str]]) -> List[Tuple[List[int], List[str]]]:
    """Workers by traceback.

    Args:
      tails: the last lines of every worker's stderr.

    Returns:
      For every different traceback the workers that have it, and its lines; workers without one are
      left out. Addresses and process ids make no difference.
    """
    found: Dict[str, Tuple[List[int], List[str]]] = {}
    for worker in sorted(tails):
        lines = last_traceback(tails[worker])
        if lines:
            key = _CHANGING.sub("", "\n".join(lines))
            found.setdefault(key, ([], lines))[0].append(worker)
    return list(found.values())
