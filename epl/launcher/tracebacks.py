# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Python tracebacks in the last lines of stderr, and which workers have the same."""

import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

_BEGIN = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_FRAME = "  File "
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


class First(NamedTuple):
    """What a chain of tracebacks began with.

    Attributes:
      error: the error, its first line.
      frame: where it was raised, a line of the traceback; "" if that is not among the lines.
    """

    error: str
    frame: str


def first_error(lines: Sequence[str]) -> Optional[First]:
    """What the last traceback in `lines` began with, if another error came while it was dealt with.

    None also if both are of the same kind: TensorFlow raises an error a second time to say more.
    """
    own = last_traceback(lines)
    begin = next((n for n in range(len(lines)) if own and list(lines[n:n + len(own)]) == own), 0)
    links = [n for n in range(max(0, begin - 2), begin + len(own))
             if lines[n].startswith(_CHAINED)]
    if not links:
        return None
    # The first of a long chain may have lost its first lines.
    first = _last_error(lines[begin if links[0] > begin else 0:links[0]])
    last = _last_error(lines[links[-1] + 1:begin + len(own)])
    return first if first and last and _kind(first.error) != _kind(last.error) else None


def _last_error(lines: Sequence[str]) -> Optional[First]:
    """The error behind the last frame in `lines`, and that frame."""
    frames = [n for n, line in enumerate(lines) if line.startswith(_FRAME)]
    behind = frames[-1] if frames else 0
    errors = [line for line in lines[behind:] if line and not line.startswith(" ")]
    if not errors:
        return None
    return First(errors[0], lines[frames[-1]] if frames else "")


def _kind(error: str) -> str:
    return error.split(":", 1)[0].rsplit(".", 1)[-1]


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
