# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Features that may meet in one training, and what becomes of each pair.

No TensorFlow is needed to read this: `scripts/combinations_table.py` makes a page of it.
"""

import itertools
from typing import Any, Dict, NamedTuple, Optional, Tuple


class Feature(NamedTuple):
    """One feature.

    Attributes:
      title: for people.
      config: keys of the configuration.
      workers: of the job, at least.
      stages: of the model, at least.
      replicas: within each worker, at least.
      program: what the script does beside: "sparse", "clipped", "two optimizers".
    """

    title: str
    config: Dict[str, Any] = {}
    workers: int = 1
    stages: int = 1
    replicas: int = 1
    program: str = ""


GC, ZERO = "gradient_checkpoint.type", "zero.level"
AUTOMATIC, CHUNKS, NUMBER = "auto.auto_parallel", "pipeline.num_chunks", "pipeline.num_stages"


def _schedule(title: str, name: str, **more: Any) -> Feature:
    return Feature(title, dict({"pipeline.strategy": name, "pipeline.num_micro_batch": 2}, **more),
                   stages=2 * more.get(CHUNKS, 1))


FEATURES = {feature.title: feature for feature in (
    Feature("workers", workers=2),
    Feature("replicas in a worker", replicas=2),
    Feature("stages", {AUTOMATIC: False}, stages=2),
    Feature("automatic stages", {AUTOMATIC: True}, stages=2),
    Feature("micro-batches", {"pipeline.num_micro_batch": 2}),
    _schedule("PreferForward", "PreferForward"),
    _schedule("PreferBackwardOptimizer", "PreferBackwardOptimizer"),
    _schedule("ZB-H1", "ZB-H1"),
    _schedule("interleaved", "1F1B", **{CHUNKS: 2}),
    _schedule("ZB-V", "ZB-V", **{CHUNKS: 2}),
    _schedule("schedule: auto", "auto"),
    Feature("gc: auto", {GC: "auto"}),
    Feature("gc: collection", {GC: "collection"}),
    Feature("zero: v0", {ZERO: "v0"}, workers=2),
    Feature("zero: v1", {ZERO: "v1"}, workers=2),
    Feature("zero: v2", {ZERO: "v2"}, workers=2),
    Feature("offload", {"offload.level": "v0"}),
    Feature("update groups", {"optimizer.num_apply_group": 2}),
    Feature("amp", {"amp.level": "o1", "amp.dtype": "float32"}),
    Feature("sparse gradients", program="sparse"),
    Feature("clipping", program="clipped"),
    Feature("two optimizers", program="two optimizers"),
)}

SAME_KEY = "one or the other"  # two values of one key

_SEVERAL_DEVICES = ("replicas in a worker", "stages", "automatic stages", "PreferForward",
                    "PreferBackwardOptimizer", "ZB-H1", "interleaved", "ZB-V", "schedule: auto")
_ZERO = ("zero: v0", "zero: v1", "zero: v2")
# What is refused -> the error, as a regular expression.
REFUSED: Dict[frozenset, str] = {}
REFUSED.update({frozenset(pair): r"shares state out over workers with one device each"
                for pair in itertools.product(_ZERO, _SEVERAL_DEVICES)})
REFUSED.update({frozenset((level, "update groups")):
                "zero.level = '{}' and optimizer.num_apply_group = 2 do not go together".format(
                    level[-2:]) for level in _ZERO})

# More than two, as people use them.
TRIPLES = (
    ("stages", "micro-batches", "gc: auto"),
    ("stages", "micro-batches", "replicas in a worker", "clipping"),
    ("workers", "stages", "micro-batches", "gc: auto", "sparse gradients", "clipping"),
    ("workers", "stages", "micro-batches", "amp", "clipping"),
    ("PreferForward", "gc: auto", "update groups", "offload"),
    ("workers", "micro-batches", "gc: auto", "amp", "clipping"),
    ("zero: v1", "gc: auto", "amp"),
    ("zero: v1", "micro-batches", "sparse gradients", "clipping"),
    ("zero: v2", "gc: collection", "micro-batches", "clipping"),
    ("zero: v2", "offload", "sparse gradients", "two optimizers"),
    ("replicas in a worker", "update groups", "offload", "two optimizers"),
    ("workers", "ZB-H1", "automatic stages", "sparse gradients", "clipping"),
    ("workers", "ZB-V", "gc: auto", "clipping"),
    ("interleaved", "replicas in a worker", "sparse gradients", "two optimizers"),
    ("schedule: auto", "automatic stages", "workers", "amp", "clipping"),
)


def pairs():
    """All pairs of titles, in the order of the features."""
    return list(itertools.combinations(FEATURES, 2))


def expected(titles: Tuple[str, ...]) -> Optional[str]:
    """None: equal to one device; else the error, or that there is no such combination."""
    for pair in itertools.combinations(titles, 2):
        one, other = (FEATURES[title].config for title in pair)
        if any(one[key] != other[key] for key in set(one) & set(other)):
            return SAME_KEY
        if frozenset(pair) in REFUSED:
            return REFUSED[frozenset(pair)]
    return None


def together(titles: Tuple[str, ...]) -> Tuple[Dict[str, Any], int, int, int, frozenset]:
    """Configuration, workers, stages, replicas in a worker, and what the script does."""
    chosen = [FEATURES[title] for title in titles]
    config = {key: value for feature in chosen for key, value in feature.config.items()}
    stages = max(f.stages for f in chosen)
    if config.get(AUTOMATIC):
        config[NUMBER] = stages
    return (config, max(f.workers for f in chosen), stages,
            max(f.replicas for f in chosen), frozenset(f.program for f in chosen if f.program))
