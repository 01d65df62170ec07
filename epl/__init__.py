# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""EPL: three added lines make a single-device TensorFlow 1.x script parallel.

    import epl
    epl.init(epl.Config({"communication.max_splits": 4}))
    epl.set_default_strategy(epl.replicate(device_count=1))

This module is the public surface and nothing else. Names are loaded on first use, so that
`epl-launch`, which needs no TensorFlow, does not wait for it.
"""

import importlib
from typing import TYPE_CHECKING, Any, List

from epl.version import __version__

if TYPE_CHECKING:
    from epl.checking.checker import check
    from epl.cluster import Cluster
    from epl.config import Config
    from epl.data import global_batch, shard
    from epl.env import Env
    from epl.errors import ConfigError, WorkerLostError
    from epl.ir.collections import add_to_collection, get_all_collections, get_collection
    from epl.ir.feeds import divide_feed, share_feed
    from epl.ir.graph import Graph
    from epl.ir.graph_keys import GraphKeys
    from epl.runtime.stop import request_stop
    from epl.start import explain, init, predict_memory
    from epl.strategies import replicate, set_default_strategy, split

VERSION = __version__

# Modules that scripts name without importing them.
_MODULES = ("cluster", "config", "env", "profiler")

_HOME = {
    "Cluster": "epl.env",  # which knows what to do with one that is entered
    "Config": "epl.config",
    "ConfigError": "epl.errors",
    "WorkerLostError": "epl.errors",
    "Env": "epl.env",
    "Graph": "epl.ir.graph",
    "GraphKeys": "epl.ir.graph_keys",
    "add_to_collection": "epl.ir.collections",
    "check": "epl.checking.checker",
    "get_all_collections": "epl.ir.collections",
    "get_collection": "epl.ir.collections",
    "divide_feed": "epl.ir.feeds",
    "share_feed": "epl.ir.feeds",
    "explain": "epl.start",
    "global_batch": "epl.data",
    "init": "epl.start",
    "predict_memory": "epl.start",
    "replicate": "epl.strategies",
    "request_stop": "epl.runtime.stop",
    "set_default_strategy": "epl.strategies",
    "shard": "epl.data",
    "split": "epl.strategies",
}

__all__ = [
    "VERSION", "Cluster", "Config", "ConfigError", "Env", "Graph", "GraphKeys", "WorkerLostError",
    "__version__", "add_to_collection", "check", "divide_feed", "explain", "get_all_collections",
    "get_collection", "global_batch", "init", "predict_memory", "replicate", "request_stop",
    "set_default_strategy", "shard", "share_feed", "split",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module("epl." + name)
    if name not in _HOME:
        raise AttributeError("module 'epl' has no attribute '{}'".format(name))
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted(set(globals()) | set(_HOME) | set(_MODULES))
