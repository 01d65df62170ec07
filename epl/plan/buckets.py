# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which gradients travel together.

    gradients in backward order     g7 g6 g5 | g4 g3 | g2 g1 g0      (one dtype,
    buckets                            0     |   1   |    2           one device)

A bucket is a run of neighbours in the order in which the backward pass produces them, so the first
can leave while the rest is computed. A message has its price beside that of its bytes, so there is
no gain in a bucket below some size: a small model's gradients travel together. The plan depends on
dtypes, sizes and devices alone: two runs sum in the same order and give the same bits.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

# Elements. An estimate: a message of 1 MiB, in 32 bits, takes about as long as an exchange of
# nothing, some 1 ms each with Horovod and Gloo on one machine.
SMALLEST = 1 << 18


class TensorSpec(NamedTuple):
    """What the plan needs to know of one tensor.

    Attributes:
      dtype: name of the element type.
      num_elements: number of elements, or -1 if unknown (counted as the mean of the others).
      device: name of the device that holds it; "" stands for the only one.
    """

    dtype: str
    num_elements: int
    device: str = ""


_Kind = Tuple[str, str]  # (dtype, device) of the tensors in a bucket


def plan_buckets(tensors: Sequence[TensorSpec], max_splits: int,
                 smallest: int = 0) -> List[Tuple[int, ...]]:
    """Group tensors into at most `max_splits` buckets of even size.

    A bucket holds tensors of one dtype on one device. Every such pair needs a bucket of its own,
    so there are more than `max_splits` only if there are more pairs than that.

    Args:
      tensors: in the order in which the model's variables were created.
      max_splits: at least 1.
      smallest: elements of a bucket below which it is not split off from others of its kind.

    Returns:
      Buckets as tuples of indices into `tensors`; last created first, each index once.
    """
    if max_splits < 1:
        raise ValueError("max_splits = {}: use 1 or more".format(max_splits))
    if not tensors:
        return []
    by_kind: Dict[_Kind, List[int]] = {}
    for index in reversed(range(len(tensors))):
        kind = (tensors[index].dtype, tensors[index].device)
        by_kind.setdefault(kind, []).append(index)
    sizes = _known_sizes(tensors)
    shares = _share_splits({k: sum(sizes[i] for i in m) for k, m in by_kind.items()}, max_splits)
    buckets: List[Tuple[int, ...]] = []
    for kind, members in by_kind.items():
        buckets.extend(_even_runs(members, sizes, shares[kind], smallest))
    return buckets


def _known_sizes(tensors: Sequence[TensorSpec]) -> List[int]:
    known = [t.num_elements for t in tensors if t.num_elements >= 0]
    mean = max(1, sum(known) // len(known)) if known else 1
    return [t.num_elements if t.num_elements >= 0 else mean for t in tensors]


def _share_splits(totals: Dict[_Kind, int], max_splits: int) -> Dict[_Kind, int]:
    """One split for every kind; each further one to the kind with the largest buckets."""
    shares = dict.fromkeys(totals, 1)
    for _ in range(max_splits - len(totals)):
        largest = max(totals, key=lambda kind: totals[kind] / shares[kind])
        shares[largest] += 1
    return shares


def _even_runs(members: Sequence[int], sizes: Sequence[int], count: int,
               smallest: int) -> List[Tuple[int, ...]]:
    """At most `count` runs of `members`; a run ends once its share of the total is reached."""
    total = sum(sizes[index] for index in members)
    runs: List[Tuple[int, ...]] = []
    current: List[int] = []
    done = before = 0
    for index in members:
        current.append(index)
        done += sizes[index]
        if done * count >= total * (len(runs) + 1) and len(runs) < count - 1 \
                and done - before >= smallest:
            runs.append(tuple(current))
            current, before = [], done
    if current and runs and done - before < smallest:
        current = list(runs.pop()) + current
    if current:
        runs.append(tuple(current))
    return runs
