# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""BERT with the question answering head: the scores of positions, and the training loss."""

import argparse
from typing import Any, Dict

import tensorflow.compat.v1 as tf

from examples.bert import checkpoints, modeling
from examples.bert.worker import Worker


class SquadModel:
    """Builds the model into the default graph, once."""

    def __init__(self, config: modeling.BertConfig, flags: argparse.Namespace, worker: Worker):
        """Describe a model.

        Args:
          config: sizes of the encoder.
          flags: the command line.
          worker: who trains it, and in how many stages.
        """
        self._config = config
        self._flags = flags
        self._worker = worker

    def scores(self, features: Dict[str, Any], training: bool = False) -> Any:
        """The score of every position to be an answer's start or end.

        Variables begin with the values of `--init_checkpoint` if there is one and nothing is
        trained yet.

        Args:
          features: what `features.columns` makes, as tensors of B rows and S positions.
          training: whether they are for the training loss.

        Returns:
          (start, end), float32 [B, S] each.
        """
        # EPL leaves prediction alone: it runs on one device, so the stages mean nothing there.
        encoded = modeling.bert(self._config, features["input_ids"], features["input_mask"],
                                features["segment_ids"], training, self._worker.stages,
                                self._worker.on_stage if training else None)
        if self._flags.gc == "collection":
            for hidden in encoded.hidden_states:
                tf.add_to_collection("checkpoints", hidden)
        scores = modeling.span_logits(self._config, encoded.sequence_output)
        if self._flags.init_checkpoint and not checkpoints.latest_checkpoint(
                self._flags.output_dir):
            report = checkpoints.initialize_from(self._flags.init_checkpoint,
                                                 tf.trainable_variables())
            if self._worker.is_chief:
                print(report, flush=True)
        return scores

    def loss(self, features: Dict[str, Any]) -> Any:
        """The training loss of rows whose answers are known, a scalar."""
        starts, ends = self.scores(features, training=True)
        loss = 0.5 * (_position_loss(starts, features["start_positions"])
                      + _position_loss(ends, features["end_positions"]))
        if self._worker.on_loss:
            self._worker.on_loss(loss)
        return loss


def _position_loss(logits: Any, positions: Any) -> Any:
    """The mean over rows of the cross entropy of `positions` [B] under `logits` [B, S]."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positions, logits=logits))


def session_config() -> Any:
    """For sessions that run it: the graph is improved once, as a second time finds nothing more."""
    config = tf.ConfigProto(allow_soft_placement=True)
    options = config.graph_options.rewrite_options
    options.meta_optimizer_iterations = options.ONE
    return config
