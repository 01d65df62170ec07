# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mixed precision is TensorFlow's: a pass of its graph optimizer, which sessions are made with.

| amp.dtype | GPUs | CPU devices |
| --- | --- | --- |
| float16 | computed in it | values are rounded to it, to try a script (from TensorFlow 2.10) |
| bfloat16 | refused | computed in it, by oneDNN (from 2.10, processors with AVX512_BF16 or AMX) |
| float32 | nothing is cast, the loss is scaled | the same |

Source: RewriterConfig in tensorflow/core/protobuf/rewriter_config.proto.
"""

import os
from typing import Any, FrozenSet

import tensorflow.compat.v1 as tf

from epl.cluster import Cluster
from epl.config import Config
from epl.errors import ConfigError

_PASSES = {("gpu", "float16"): "auto_mixed_precision",
           ("cpu", "float16"): "auto_mixed_precision_cpu",
           ("cpu", "bfloat16"): "auto_mixed_precision_onednn_bfloat16"}
_BFLOAT16 = ("avx512_bf16", "amx_bf16")
_LOG = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_LOG_PATH"
_TO_TRY = "amp.dtype = 'float32' casts nothing, and scales the loss as with float16"


def casts(config: Config) -> bool:
    """True if the configuration asks for values of 16 bits."""
    return bool(config.amp.level) and config.amp.dtype != "float32"


def check_precision(config: Config, cluster: Cluster) -> None:
    """Raises ConfigError if this TensorFlow, on such devices, has no such mixed precision."""
    if config.amp.level and config.amp.loss_scale == "dynamic" and config.communication.fp16 \
            and config.amp.dtype != "bfloat16":
        raise ConfigError("communication.fp16 sends gradients as 16-bit floats, in which those of "
                          "a loss times 2^15 and more (amp.loss_scale = 'dynamic') have no place: "
                          "leave communication.fp16 out, or set amp.loss_scale to a number")
    if not casts(config):
        return
    device_type = _device_type(cluster)
    asked = "amp.level = '{}' with amp.dtype = '{}' on {}s".format(
        config.amp.level, config.amp.dtype, device_type.upper())
    name = _PASSES.get((device_type, config.amp.dtype))
    if name is None:
        raise ConfigError("{}: TensorFlow casts to bfloat16 on CPUs only; use amp.dtype = "
                          "'float16'".format(asked))
    if not hasattr(tf.ConfigProto().graph_options.rewrite_options, name):
        raise ConfigError("{}: TensorFlow {} casts on GPUs only; use GPUs or TensorFlow 2.10 or "
                          "later, or leave amp.level out; {}".format(
                              asked, tf.__version__, _TO_TRY))
    if config.amp.dtype == "bfloat16" and not _processor_flags().intersection(_BFLOAT16):
        raise ConfigError("{}: this processor has neither of {}; leave amp.level out; {}".format(
            asked, ", ".join(_BFLOAT16), _TO_TRY))


def check_beside(config: Config, cluster: Cluster, communicator: str) -> None:
    """Raises ConfigError if TensorFlow cannot cast where workers are connected like that.

    Its pass for float16 on CPUs ends the process (SIGABRT, seen with 2.15.1) when there are devices
    of other servers, as there are with TensorFlow's own collectives.

    Args:
      config: the configuration.
      cluster: the workers.
      communicator: name of what connects several workers.
    """
    if casts(config) and config.amp.dtype == "float16" and communicator == "native" \
            and _device_type(cluster) == "cpu":
        raise ConfigError(
            "amp.level = '{}' with amp.dtype = 'float16' on CPUs, and communication.communicator = "
            "'native': TensorFlow {} cannot cast there; use another communicator "
            "('shared_memory' on one machine, or 'horovod'); {}".format(
                config.amp.level, tf.__version__, _TO_TRY))


def set_precision(session: Any, config: Config, cluster: Cluster) -> None:
    """Let sessions of `session`, a `tf.ConfigProto`, compute in mixed precision.

    Raises:
      ConfigError: the script has switched it off there.
    """
    if not casts(config):
        return
    name = _PASSES[_device_type(cluster), config.amp.dtype]
    optimizers = session.graph_options.rewrite_options
    if optimizers.disable_meta_optimizer or getattr(optimizers, name) == optimizers.OFF:
        raise ConfigError(
            "amp.level = '{}' is a pass of TensorFlow's graph optimizer, which this session's "
            "ConfigProto switches off (graph_options.rewrite_options.{}): leave one of them "
            "out".format(config.amp.level, "disable_meta_optimizer"
                         if optimizers.disable_meta_optimizer else name))
    setattr(optimizers, name, optimizers.ON)


def log_decisions(config: Config, cluster: Cluster) -> None:
    """Let TensorFlow write which operations it casts, if amp.debug_log asks for it."""
    if casts(config) and config.amp.debug_log and _LOG not in os.environ:
        directory = os.path.join("epl_amp", "worker_{}".format(cluster.worker_index))
        os.makedirs(directory, exist_ok=True)
        os.environ[_LOG] = directory
        tf.logging.info("amp.debug_log: TensorFlow writes what it casts to %s", directory)


def _device_type(cluster: Cluster) -> str:
    """What the model runs on; without a launcher nobody said, and TensorFlow takes a GPU it has."""
    return cluster.device_type or \
        ("gpu" if tf.config.experimental.list_physical_devices("GPU") else "cpu")


def _processor_flags() -> FrozenSet[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return frozenset(word for line in file if line.startswith("flags")
                             for word in line.split())
    except OSError:  # no Linux: oneDNN decides
        return frozenset(_BFLOAT16)
