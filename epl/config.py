# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The configuration: one table of keys, and the object that holds their values.

A value comes from the dictionary given to `Config`, else from the environment variable
`EPL_<CATEGORY>_<KEY>`, else from the table. Keys, types and defaults are those of the original
EPL; a key whose feature does not exist yet is refused as soon as it is set to anything but its
default.
"""

import math
import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from epl.errors import ConfigError, nearest, quoted, shown
from epl.limits import MAX_MICRO_BATCHES, MAX_SPLITS
from epl.plan import schedules


class Option(NamedTuple):
    """One row of the table: what a key accepts.

    Attributes:
      default: value when nothing is set; its type is the key's type.
      meaning: one line for people.
      choices: the allowed values (lower case), for strings; of a mapping the keys, which stand for
        its values.
      minimum: the smallest allowed value, for integers.
      maximum: the largest.
      available: False while the feature behind the key is not built.
      alone: it asks for something on a single device as well.
      keeps_case: capital letters make a difference, as in a path.
    """

    default: Any
    meaning: str
    choices: Union[Tuple[str, ...], Mapping[str, str]] = ()
    minimum: Optional[int] = None
    maximum: int = 2 ** 31 - 1
    available: bool = True
    alone: bool = False
    keeps_case: bool = False


def _later(default: Any, meaning: str, **limits: Any) -> Option:
    return Option(default, meaning, available=False, **limits)


OPTIONS = {
    "auto.auto_parallel": Option(False, "choose the stages of a model that is not annotated"),
    "auto.device_speeds": Option(
        "", "speed of each device of a replica beside the others, such as '2 1'"),
    "auto.memory_budget_mb": Option(
        0, "MiB that each stage of auto.auto_parallel may need; 0: any number", minimum=0),
    "auto.costs": Option(
        "", "file of measured times, written by epl.profiler.CostsHook; without it rates are "
        "assumed", keeps_case=True),
    "pipeline.num_stages": Option(-1, "stages for auto.auto_parallel; -1: one", minimum=-1),
    "pipeline.num_chunks": Option(
        1, "stages on each device of a replica", minimum=1),
    "pipeline.num_micro_batch": Option(1, "micro-batches per step", minimum=1,
                                        maximum=MAX_MICRO_BATCHES),
    "pipeline.strategy": Option(
        "preferbackward", "order of forward and backward micro-batches", choices=schedules.NAMES),
    "gradient_checkpoint.type": Option(
        "", "recompute activations in the backward pass", choices=("", "collection", "auto"),
        alone=True),
    "gradient_checkpoint.end_taskgraph": Option(
        -1, "last TaskGraph whose activations are recomputed; -1: all", minimum=-1),
    "gradient_checkpoint.budget_mb": Option(
        0, "MiB that activations may take at a time; 0: about as few as possible", minimum=0),
    "gradient_checkpoint.check_gradients": Option(
        False, "compare every step's gradients with those without checkpoints"),
    "zero.level": Option(
        "", "share optimizer state out over workers; v1: gradients too, v2: parameters too",
        choices=("", "v0", "v1", "v2")),
    "offload.level": Option("", "keep variables in host memory", choices=("", "v0"), alone=True),
    "amp.level": Option("", "automatic mixed precision", choices=("", "o1"), alone=True),
    "amp.dtype": Option("float16", "what mixed precision computes with",
                        choices=("float16", "bfloat16", "float32")),
    "amp.debug_log": Option(False, "log the precision of every operation"),
    "amp.loss_scale": Option("dynamic", "'dynamic' or a number"),
    "cluster.device_place_prefer_intra_node": Option(
        True, "fill the devices of one worker before those of the next"),
    "cluster.run_visible_devices": Option("", "GPUs of this process that TensorFlow may see"),
    "cluster.colocate_split_and_replicate": _later(False, "one device set for all TaskGraphs"),
    "optimizer.num_apply_group": Option(
        1, "update variables in so many groups, one after another", minimum=1, alone=True),
    "communication.num_communicators": Option(
        2, "NCCL communicators of the original; Horovod runs one, so it has no effect", minimum=1),
    "communication.max_splits": Option(5, "fused gradient groups at most", minimum=1,
                                       maximum=MAX_SPLITS),
    "communication.communicator": Option(
        "auto", "what connects the workers: horovod, shared_memory (those of one machine), "
        "native (TensorFlow's own collectives), auto, or another name of "
        "`epl.communicators.registry`"),
    "communication.sparse_as_dense": Option(False, "send sparse gradients as dense tensors"),
    "communication.fp16": Option(False, "send gradients as 16-bit floats"),
    "communication.fp16_scale": Option(
        128, "factor applied to gradients before the 16-bit cast", minimum=1, maximum=65504),
    "communication.clip_after_allreduce": Option(
        False, "EPL always reduces before the script clips; both values are the same run"),
    "communication.gradients_reduce_method": Option(
        "mean", "reduction over micro-batches and replicas", choices=("mean", "sum")),
    "io.slicing": Option(False, "divide lists of input files between workers"),
    "io.unbalanced_io_slicing": Option(False, "allow one file more or less per worker"),
    "io.drop_last_files": Option(False, "drop files that do not divide evenly"),
}  # type: Dict[str, Option]

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")  # not what else int() takes: 1_0
_CATEGORIES = sorted({key.split(".")[0] for key in OPTIONS})


def environment_name(key: str) -> str:
    """`"pipeline.num_micro_batch"` -> `"EPL_PIPELINE_NUM_MICRO_BATCH"`."""
    return "EPL_" + key.replace(".", "_").upper()


def _checked(key: str, value: Any, source: str) -> Any:
    """`value` as stored for `key`; raises ConfigError naming the key, the value and the cure."""
    option = OPTIONS[key]
    value = _typed(key, value, source)
    if key == "amp.loss_scale":
        return _loss_scale(value, source)
    if option.choices and value not in option.choices:
        raise ConfigError("{} '{}' = {} is not one of {}; {}".format(
            source, key, shown(value), list(option.choices), nearest(value, option.choices)))
    if isinstance(option.choices, Mapping):
        value = option.choices[value]
    if option.minimum is not None and value < option.minimum:
        raise ConfigError("{} '{}' = {} is too small: use {} or more".format(
            source, key, shown(value), option.minimum))
    if type(value) is int and value > option.maximum:
        raise ConfigError("{} '{}' = {} is too large: use {} or less".format(
            source, key, shown(value), option.maximum))
    if not option.available and value != option.default:
        raise NotImplementedError(
            "{} '{}' = {}: this feature ({}) is not available yet in this version of EPL; "
            "leave the key out or at its default {!r}".format(
                source, key, shown(value), option.meaning, option.default))
    return value


def _loss_scale(value: Any, source: str) -> Any:
    """'dynamic' or a finite number of at least 1, which an environment variable gives as text."""
    if value == "dynamic":
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not 1.0 <= number < math.inf:
        raise ConfigError("{} 'amp.loss_scale' = {} is neither 'dynamic' nor a number of 1 or more"
                          .format(source, shown(value)))
    return number


def _typed(key: str, value: Any, source: str) -> Any:
    default = OPTIONS[key].default
    wanted: Tuple[type, ...] = (type(default),)
    if key == "amp.loss_scale":
        wanted = (str, int, float)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise ConfigError("{} '{}' = {} has type {}, but {} is needed (default {!r})".format(
            source, key, shown(value), type(value).__name__,
            " or ".join(t.__name__ for t in wanted), default))
    lower = isinstance(value, str) and not OPTIONS[key].keeps_case
    return value.lower() if lower else value


def _from_text(key: str, text: str) -> Any:
    """The value that an environment variable's text means; raises ConfigError."""
    default = OPTIONS[key].default
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ConfigError("{}='{}': use true or false".format(
                environment_name(key), quoted(text)))
        return text.lower() == "true"
    if isinstance(default, int):
        if not _INTEGER.fullmatch(text):
            raise ConfigError("{}='{}': use a whole number".format(
                environment_name(key), quoted(text)))
        return int(text)
    return text


def _environment_values(environ: Mapping[str, str]) -> Dict[str, Any]:
    names = {environment_name(key): key for key in OPTIONS}
    prefixes = tuple("EPL_{}_".format(category.upper()) for category in _CATEGORIES)
    found = {}
    for name in sorted(environ):
        if name in names:
            found[names[name]] = _from_text(names[name], environ[name])
        elif name.startswith(prefixes):
            raise ConfigError("environment variable '{}' is not a configuration key; {}".format(
                quoted(name), nearest(name, names)))
    return found


class _Category:
    """The keys that share a prefix, as attributes: `config.pipeline.num_micro_batch`."""

    def __init__(self, name: str):
        object.__setattr__(self, "_name", name)

    def __setattr__(self, attribute: str, value: Any) -> None:
        key = "{}.{}".format(self._name, attribute)
        if key not in OPTIONS:
            raise AttributeError("unknown configuration key '{}'; {}".format(
                key, nearest(key, OPTIONS)))
        object.__setattr__(self, attribute, _checked(key, value, "configuration key"))

    def __getattr__(self, attribute: str) -> Any:
        raise AttributeError("unknown configuration key '{}.{}'; {}".format(
            self._name, attribute, nearest("{}.{}".format(self._name, attribute), OPTIONS)))


class Config:
    """The configuration of a run: a value for every key, as `config.category.key`.

    A value comes from the dictionary, else from the environment variable `EPL_<CATEGORY>_<KEY>`,
    else it is the default. A value can be set later, `config.pipeline.num_micro_batch = 4`, and is
    checked then; `epl.init` takes what is set when it is called.

    Args:
      param_dict: `{"category.key": value}`; `docs/configuration.md` has all keys with their types,
        defaults and units. They are those of the original EPL.

    Raises:
      ConfigError: an unknown key, a value of the wrong type or out of range, in the dictionary
        or in an `EPL_<CATEGORY>_<KEY>` environment variable.
      NotImplementedError: a key whose feature does not exist yet was set.

    Examples:
      >>> config = epl.Config({"pipeline.num_micro_batch": 4, "pipeline.strategy": "1F1B"})
      >>> config.pipeline.num_micro_batch, config.pipeline.strategy
      (4, 'preferbackward')
      >>> epl.Config({"pipeline.num_micro_batches": 4})
      Traceback (most recent call last):
      epl.errors.ConfigError: unknown configuration key 'pipeline.num_micro_batches'; did...
    """

    def __init__(self, param_dict: Optional[Mapping[str, Any]] = None):
        if param_dict is not None and not isinstance(param_dict, Mapping):
            raise ConfigError("epl.Config takes a dictionary {{'category.key': value}}, not {}"
                              .format(shown(param_dict)))
        given = dict(param_dict or {})
        for key in given:
            if not isinstance(key, str) or key not in OPTIONS:
                raise ConfigError("unknown configuration key {}; {}".format(
                    shown(key), nearest(shown(key), OPTIONS)))
        from_environment = _environment_values(os.environ)
        for category in _CATEGORIES:
            setattr(self, category, _Category(category))
        for key, option in OPTIONS.items():
            if key in given:
                value = _checked(key, given[key], "configuration key")
            elif key in from_environment:
                value = _checked(key, from_environment[key],
                                 "environment variable {} for".format(environment_name(key)))
            else:
                value = option.default
            category, attribute = key.split(".")
            object.__setattr__(getattr(self, category), attribute, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _CATEGORIES or not isinstance(value, _Category):
            raise AttributeError("epl.Config has no attribute '{}'; {}".format(
                name, nearest(name, _CATEGORIES)))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError("epl.Config has no category '{}'; {}".format(
            name, nearest(name, _CATEGORIES)))

    def as_dict(self) -> Dict[str, Any]:
        """All values: `{"category.key": value}`, in the table's order."""
        return {key: getattr(getattr(self, key.split(".")[0]), key.split(".")[1])
                for key in OPTIONS}

    def asked_of_one_device(self) -> List[str]:
        """The keys that are set and ask for something on a single device as well."""
        return ["{} = {!r}".format(key, value) for key, value in self.as_dict().items()
                if OPTIONS[key].alone and value != OPTIONS[key].default]
