# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What flags mean, and which numbers of devices, stages and layers fit together."""

import pytest

from examples.bert import flags as command_line
from examples.bert import modeling, parallel
from examples.bert.errors import UserError

NEEDED = ["--vocab_file=v", "--bert_config_file=c", "--output_dir=o", "--do_train",
          "--train_file=t"]


def parse(*arguments, **defaults):
    return command_line.parse("", NEEDED + list(arguments), **defaults)


def test_micro_batches_not_asked_for_are_left_to_epl():
    assert command_line.epl_settings(parse()) == {}
    assert command_line.epl_settings(parse("--num_micro_batch=1")) == {
        "pipeline.num_micro_batch": 1}


def test_the_flag_wins_over_the_default_of_a_script():
    assert command_line.epl_settings(parse(num_micro_batch=4)) == {"pipeline.num_micro_batch": 4}
    flags = parse("--num_micro_batch=2", num_micro_batch=4)
    assert command_line.epl_settings(flags) == {"pipeline.num_micro_batch": 2}


def test_flags_of_epl_become_its_settings():
    flags = parse("--gc=auto", "--amp=o1", "--zero=v1", "--offload=v0", "--apply_groups=3")
    assert command_line.epl_settings(flags) == {
        "gradient_checkpoint.type": "auto", "amp.level": "o1", "zero.level": "v1",
        "offload.level": "v0", "optimizer.num_apply_group": 3}


def test_what_needs_more_than_one_device():
    assert command_line.beyond_one_device(parse("--num_micro_batch=1", "--num_pipe_stages=1")) == []
    assert command_line.beyond_one_device(parse("--num_pipe_stages=2", "--amp=o1")) == [
        "--num_pipe_stages 2", "--amp o1"]


@pytest.mark.parametrize("devices, stages", [(1, 1), (2, 2), (4, 2), (4, 1)])
def test_replicas_fill_the_devices_of_a_worker(devices, stages):
    parallel.check_stages(devices, stages)


@pytest.mark.parametrize("devices, stages, enough", [(1, 2, 2), (3, 2, 4), (2, 3, 3), (4, 3, 6)])
def test_devices_that_whole_replicas_cannot_fill(devices, stages, enough):
    with pytest.raises(UserError) as caught:
        parallel.check_stages(devices, stages)
    assert "--num_pipe_stages {} needs a multiple of {} devices".format(stages, stages) in str(
        caught.value)
    assert "there are {}; ".format(devices) in str(caught.value)
    assert "--gpu_per_worker {},".format(enough) in str(caught.value)


def config_with(layers):
    return modeling.BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=12, max_position_embeddings=7, type_vocab_size=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def test_layers_are_divided_equally():
    assert [config_with(12).layers_per_stage(stages) for stages in (1, 3, 12)] == [12, 4, 1]


@pytest.mark.parametrize("layers, stages, cure", [
    (12, 5, "1, 2, 3, 4, 6, 12"), (2, 4, "1, 2"), (3, 2, "1, 3")])
def test_layers_that_stages_cannot_share(layers, stages, cure):
    with pytest.raises(UserError) as caught:
        config_with(layers).layers_per_stage(stages)
    assert "num_hidden_layers {} cannot be divided into {} equal stages".format(
        layers, stages) in str(caught.value)
    assert str(caught.value).endswith("one of " + cure)
