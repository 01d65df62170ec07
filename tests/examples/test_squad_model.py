# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The model announces its stages."""

import pytest
import tensorflow.compat.v1 as tf

from examples.bert import flags as command_line
from examples.bert import modeling
from examples.bert.squad_model import SquadModel
from examples.bert.worker import Worker

pytestmark = pytest.mark.fast

LENGTH = 5
CONFIG = modeling.BertConfig(
    vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
    max_position_embeddings=LENGTH, type_vocab_size=2, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0)
FLAGS = command_line.parse("", ["--vocab_file=v", "--bert_config_file=c", "--output_dir=o",
                                "--do_train", "--train_file=t"])


@pytest.mark.parametrize("build, calls", [
    (SquadModel.loss, ["stage 0", "stage 1", "loss"]), (SquadModel.scores, [])])
def test_stages_and_loss_are_announced_in_training_only(build, calls):
    said = []
    worker = Worker(stages=2, on_stage=lambda stage: said.append("stage {}".format(stage)),
                    on_loss=lambda loss: said.append("loss"))
    with tf.Graph().as_default():
        ids = tf.zeros([3, LENGTH], tf.int32)
        features = {"input_ids": ids, "input_mask": ids, "segment_ids": ids,
                    "start_positions": ids[:, 0], "end_positions": ids[:, 0]}
        build(SquadModel(CONFIG, FLAGS, worker), features)
    assert said == calls
