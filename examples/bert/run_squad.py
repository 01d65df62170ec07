# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), in plain TensorFlow.

This script runs on one device and knows nothing of EPL; `run_squad_dp.py` and `run_squad_pipe.py`
run it on many.
"""

import argparse
import os
import sys
from typing import List, Optional

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

import tensorflow.compat.v1 as tf

from examples.bert import features, prediction, predictions, training
from examples.bert import flags as command_line
from examples.bert.bert_config import BertConfig
from examples.bert.checkpoints import checkpoint_shapes, latest_checkpoint
from examples.bert.errors import UserError, exit_code
from examples.bert.feature_cache import FeatureCache, Features
from examples.bert.files import write_json
from examples.bert.squad import Question, QuestionFile, read_questions
from examples.bert.squad_model import SquadModel
from examples.bert.tokenization import Vocabulary
from examples.bert.worker import Worker

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()

_WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"


class Texts:
    """Questions and what the model reads of them, as the command line says."""

    def __init__(self, flags: argparse.Namespace, config: BertConfig, is_chief: bool):
        """Read the vocabulary; the chief says if it is shorter than the model's table.

        Raises:
          UserError: it does not fit the model, or the lengths do not.
        """
        vocabulary = Vocabulary(flags.vocab_file)
        _check_vocabulary(flags, config, vocabulary)
        if is_chief and len(vocabulary) < config.vocab_size:
            print("'{}' has {} word pieces and the model's table {} rows; the last {} are not used"
                  .format(flags.vocab_file, len(vocabulary), config.vocab_size,
                          config.vocab_size - len(vocabulary)), flush=True)
        if flags.max_seq_length > config.max_position_embeddings:
            raise UserError("--max_seq_length {} exceeds the model's max_position_embeddings {}"
                            .format(flags.max_seq_length, config.max_position_embeddings))
        self._flags = flags
        self._reader = features.Reader(vocabulary, flags.do_lower_case, features.Lengths(
            flags.max_seq_length, flags.max_query_length, flags.doc_stride))
        self._cache = FeatureCache(flags.feature_cache_dir, flags.feature_processes)

    def read(self, path: str, with_answers: bool) -> QuestionFile:
        """The questions of a file."""
        return read_questions(path, with_answers, self._flags.version_2_with_negative)

    def prepare(self, file: QuestionFile) -> Features:
        """Their windows, converted now or in an earlier run."""
        return self._cache.prepare(file, self._reader)


def run(flags: argparse.Namespace, worker: Worker) -> None:
    """Train, then answer questions, as the command line says."""
    config = BertConfig.from_json_file(flags.bert_config_file)
    _check_flags(flags, config, worker)
    texts = Texts(flags, config, worker.is_chief)
    # All files are read and converted first, so that none of them ends a run after hours.
    train_file = texts.read(flags.train_file, True) if flags.do_train else None
    asked = texts.read(flags.predict_file, False) if flags.do_predict else None
    train_features = texts.prepare(train_file) if train_file else None
    asked_features = texts.prepare(asked) if asked else None
    if train_features and not training.train(flags, config, worker,
                                             train_features.load(with_places=False)):
        return
    if asked and asked_features:
        predict(flags, config, worker, asked.questions, asked_features.load(with_places=True))


def _check_vocabulary(flags: argparse.Namespace, config: BertConfig,
                      vocabulary: Vocabulary) -> None:
    """Raises UserError unless the model and its checkpoints have a row for every word piece.

    Tables may be padded with rows that belong to no piece.
    """
    if len(vocabulary) > config.vocab_size:
        raise UserError("'{}' has {} word pieces, but '{}' says vocab_size {}: take both from the "
                        "same model".format(flags.vocab_file, len(vocabulary),
                                            flags.bert_config_file, config.vocab_size))
    for path in (flags.init_checkpoint, latest_checkpoint(flags.output_dir)):
        shape = checkpoint_shapes(path).get(_WORD_EMBEDDINGS) if path else None
        if shape and shape[0] != config.vocab_size:
            raise UserError("'{}' says vocab_size {}, but the checkpoint '{}' has {} rows of word "
                            "embeddings: take both from the same model".format(
                                flags.bert_config_file, config.vocab_size, path, shape[0]))


def _check_flags(flags: argparse.Namespace, config: BertConfig, worker: Worker) -> None:
    """Refuse at once what would fail only after all files are read."""
    config.layers_per_stage(worker.stages)
    if flags.do_train:
        worker.part(flags.train_batch_size)
        if flags.profile and not worker.timeline_hook:
            raise UserError("--profile: one device with one micro-batch is plain TensorFlow, of "
                            "which there is no timeline; raise --num_micro_batch, or start with "
                            "epl-launch on more devices")
    elif worker.is_chief and not (
            flags.init_checkpoint or latest_checkpoint(flags.output_dir)):
        raise UserError("no checkpoint in --output_dir '{}': give --do_train or --init_checkpoint"
                        .format(flags.output_dir))


def predict(flags: argparse.Namespace, config: BertConfig, worker: Worker,
            questions: List[Question], windows: List[features.Window]) -> None:
    """Answer `questions` with all workers; the chief writes the answers to its output directory."""
    scores = prediction.score(SquadModel(config, flags, worker), windows, flags, worker)
    if not worker.is_chief:
        return
    scored = (predictions.Scored(window, starts, ends)
              for window, (starts, ends) in zip(windows, scores))
    answers = predictions.find_answers(questions, scored, predictions.Search(
        flags.n_best_size, flags.max_answer_length, flags.version_2_with_negative,
        flags.null_score_diff_threshold))
    files = {"predictions.json": answers.best, "nbest_predictions.json": answers.candidates}
    if flags.version_2_with_negative:
        files["null_odds.json"] = answers.null_odds
    os.makedirs(flags.output_dir, exist_ok=True)
    for name, content in files.items():
        path = os.path.join(flags.output_dir, name)
        write_json(path, content)
        print("wrote {}".format(path), flush=True)


def main(arguments: Optional[List[str]] = None) -> None:
    """Parse the command line and run on one device."""
    flags = command_line.parse(__doc__, arguments)
    wanted = command_line.beyond_one_device(flags)
    if wanted:
        raise UserError("this script is plain TensorFlow on one device; {} needs run_squad_dp.py "
                        "or run_squad_pipe.py".format(", ".join(wanted)))
    run(flags, Worker())


if __name__ == "__main__":
    sys.exit(exit_code(main))
