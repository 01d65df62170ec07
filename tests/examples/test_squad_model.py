# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The Estimator's model announces its stages, and its input comes micro-batch by micro-batch."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from epl.plan.global_batch import divide
from examples.bert import flags as command_line
from examples.bert import modeling, squad_model
from examples.bert.batches import Batches
from examples.bert.features import Window
from examples.bert.worker import Worker
from tests.support import missing

if not hasattr(tf, "estimator"):
    pytest.skip(missing.NO_ESTIMATOR, allow_module_level=True)

LENGTH = 5
CONFIG = modeling.BertConfig(
    vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
    max_position_embeddings=LENGTH, type_vocab_size=2, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0)
FLAGS = command_line.parse("", ["--vocab_file=v", "--bert_config_file=c", "--output_dir=o",
                                "--do_train", "--train_file=t"])


def windows(count):
    """Windows that are told apart by their only word piece."""
    return [Window(row, np.array([row], np.int32), 1, np.zeros([0, 2]), np.zeros([0]), (0, 0))
            for row in range(count)]


@pytest.mark.parametrize("mode, calls", [
    (tf.estimator.ModeKeys.TRAIN, ["stage 0", "stage 1", "loss"]),
    (tf.estimator.ModeKeys.PREDICT, [])])
def test_stages_and_loss_are_announced_in_training_only(mode, calls):
    said = []
    worker = Worker(stages=2, on_stage=lambda stage: said.append("stage {}".format(stage)),
                    on_loss=lambda loss: said.append("loss"))
    with tf.Graph().as_default():
        tf.train.create_global_step()
        ids = tf.zeros([3, LENGTH], tf.int32)
        features = {"input_ids": ids, "input_mask": ids, "segment_ids": ids,
                    "start_positions": ids[:, 0], "end_positions": ids[:, 0]}
        squad_model.SquadModel(CONFIG, FLAGS, 10, worker).build(features, mode)
    assert said == calls


def test_the_clones_of_a_worker_take_its_micro_batches_in_order():
    batches = Batches(30, divide(24, 3, 2, 2, 1), 1)
    data = squad_model.TrainingData(windows(30), batches, LENGTH)
    data.position.first_step = 4
    with tf.Graph().as_default(), tf.Session() as session:
        element = tf.data.make_one_shot_iterator(data.input_fn()).get_next()
        assert element["input_ids"].shape.as_list() == [2, LENGTH]
        for step in (4, 5):
            for rows in batches.at(step):
                ids = session.run(element["input_ids"])
                np.testing.assert_array_equal(ids[:, 0], rows)
