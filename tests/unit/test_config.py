# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The configuration accepts what it documents and refuses the rest by name."""

import os
import re

import pytest

from epl.config import OPTIONS, Config, environment_name
from epl.errors import ConfigError
from tests.support.jobs import ROOT


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("EPL_"):
            monkeypatch.delenv(name)


def test_defaults_are_those_of_the_original():
    config = Config()
    own = {"amp.dtype", "auto.costs", "auto.device_speeds", "auto.memory_budget_mb",
           "communication.communicator", "gradient_checkpoint.budget_mb", "pipeline.num_chunks"}
    assert len(set(OPTIONS) - own) == 26
    assert config.pipeline.num_micro_batch == 1
    assert config.pipeline.strategy == "preferbackward"
    assert config.communication.max_splits == 5
    assert config.communication.fp16_scale == 128
    assert config.communication.gradients_reduce_method == "mean"
    assert config.cluster.device_place_prefer_intra_node is True
    assert config.amp.loss_scale == "dynamic"


def test_dictionary_beats_environment_beats_default(monkeypatch):
    monkeypatch.setenv("EPL_COMMUNICATION_MAX_SPLITS", "3")
    assert Config().communication.max_splits == 3
    assert Config({"communication.max_splits": 2}).communication.max_splits == 2


@pytest.mark.parametrize("text, value", [("true", True), ("False", False), ("TRUE", True)])
def test_booleans_from_the_environment(monkeypatch, text, value):
    monkeypatch.setenv("EPL_COMMUNICATION_FP16", text)
    assert Config().communication.fp16 is value


@pytest.mark.parametrize("values, words", [
    ({"comunication.max_splits": 2}, ["comunication.max_splits", "communication.max_splits"]),
    ({"pipeline.num_micro_batches": 4}, ["pipeline.num_micro_batch'"]),
    ({3: 4}, ["unknown configuration key 3"]),
    ({"communication.max_splits": "2"}, ["'2'", "str", "int"]),
    ({"communication.max_splits": True}, ["True", "bool", "int"]),
    ({"communication.max_splits": 2.0}, ["2.0", "float"]),
    ({"communication.max_splits": 0}, ["0", "1 or more"]),
    ({"communication.fp16": 1}, ["1", "bool"]),
    ({"communication.gradients_reduce_method": "men"}, ["'men'", "'mean'"]),
    ({"pipeline.strategy": None}, ["None", "NoneType"]),
])
def test_bad_dictionary_is_refused_by_name(values, words):
    with pytest.raises(ConfigError) as caught:
        Config(values)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name, text, words", [
    ("EPL_COMMUNICATION_MAX_SPLIT", "2", ["EPL_COMMUNICATION_MAX_SPLITS"]),
    ("EPL_COMMUNICATION_MAX_SPLITS", "two", ["EPL_COMMUNICATION_MAX_SPLITS", "'two'"]),
    ("EPL_COMMUNICATION_FP16", "yes", ["true or false", "'yes'"]),
    ("EPL_COMMUNICATION_GRADIENTS_REDUCE_METHOD", "max", ["'max'", "mean"]),
])
def test_bad_environment_is_refused_by_name(monkeypatch, name, text, words):
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError) as caught:
        Config()
    for word in words:
        assert word in str(caught.value)


def test_other_variables_of_the_launcher_are_no_configuration(monkeypatch):
    monkeypatch.setenv("EPL_OUTPUT_DIR", "somewhere")
    monkeypatch.setenv("EPL_WORKER_INDEX", "1")
    Config()


UNAVAILABLE = {
    bool: lambda option: not option.default,
    int: lambda option: option.default + 2,
    str: lambda option: option.choices[-1] if option.choices else "128",
}


@pytest.mark.parametrize("key", [k for k, option in OPTIONS.items() if not option.available])
def test_unbuilt_feature_is_refused_when_set(monkeypatch, key):
    option = OPTIONS[key]
    value = UNAVAILABLE[type(option.default)](option)
    with pytest.raises(NotImplementedError, match=re.escape(key)):
        Config({key: value})
    monkeypatch.setenv(environment_name(key), str(value))
    with pytest.raises(NotImplementedError, match=re.escape(environment_name(key))):
        Config()
    assert Config({key: option.default}).as_dict()[key] == option.default


def test_attributes_are_checked_like_keys():
    config = Config()
    config.communication.max_splits = 7
    assert config.as_dict()["communication.max_splits"] == 7
    with pytest.raises(ConfigError, match="1 or more"):
        config.communication.max_splits = 0
    with pytest.raises(AttributeError, match="max_splits"):
        config.communication.max_split = 2
    with pytest.raises(AttributeError, match="communication"):
        getattr(config, "comunication")  # noqa: B009
    with pytest.raises(AttributeError, match="pipeline"):
        config.pipelines = 1


def test_strings_ignore_case():
    config = Config({"communication.gradients_reduce_method": "MEAN"})
    assert config.communication.gradients_reduce_method == "mean"


def test_no_dictionary():
    with pytest.raises(ConfigError, match="dictionary"):
        Config("communication.max_splits")


def test_every_key_has_its_row_in_the_documentation():
    with open(os.path.join(ROOT, "docs", "configuration.md")) as file:
        rows = dict(re.findall(r"^\| `([a-z_.0-9]+)` \| (.*)\|$", file.read(), re.M))
    assert sorted(rows) == sorted(OPTIONS)
    for key, option in OPTIONS.items():
        assert "`{!r}`".format(option.default) in rows[key], key
        assert ("not available yet" in rows[key]) == (not option.available), key
