# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fine-tune BERT to answer questions about paragraphs (SQuAD), in plain TensorFlow.

This script runs on one device and knows nothing of EPL; `run_squad_dp.py` and `run_squad_pipe.py`
run it on many.
"""

import argparse
import os
import sys
import time
from typing import Any, List, Optional

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

import tensorflow.compat.v1 as tf

from examples.bert import features, loss_curve, prediction, predictions, squad_model, summaries
from examples.bert import flags as command_line
from examples.bert.batches import Batches
from examples.bert.bert_config import BertConfig
from examples.bert.checkpoints import checkpoint_shapes, latest_checkpoint
from examples.bert.errors import UserError, exit_code
from examples.bert.feature_cache import FeatureCache, Features
from examples.bert.files import write_json
from examples.bert.progress import duration
from examples.bert.squad import Question, QuestionFile, read_questions
from examples.bert.tokenization import Vocabulary
from examples.bert.worker import Worker

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()

_WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
_PROFILED_STEPS = 3
_STEPS_BEFORE_PROFILE = 10


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
    if train_features and not train(flags, config, worker,
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


def train(flags: argparse.Namespace, config: BertConfig, worker: Worker,
          windows: List[features.Window]) -> bool:
    """Train for the epochs that the command line asks for, from the last checkpoint on.

    Returns:
      Whether training came to its end; it does not if it is asked to stop.
    """
    part = worker.part(flags.train_batch_size)
    batches = Batches(len(windows), part, flags.seed)
    steps = batches.steps(flags.num_train_epochs)
    if not steps:
        raise UserError("{} sequences in batches of {} make no step in {} epochs".format(
            len(windows), flags.train_batch_size, flags.num_train_epochs))
    if worker.is_chief:
        print("training: {} sequences, {} steps of {} on {} worker(s) x {} replica(s) of {} "
              "stage(s), {} micro-batch(es) of {} each".format(
                  len(windows), steps, flags.train_batch_size, worker.number, part.num_replicas,
                  worker.stages, part.num_micro_batch, part.micro_batch), flush=True)
    # Workers may have output directories of their own; the checkpoint is in the chief's.
    first = worker.exchange.from_chief(_steps_done(flags.output_dir))
    start = time.time()
    estimator = _estimator(flags, config, worker, steps)
    data = squad_model.TrainingData(windows, batches, flags.max_seq_length)
    last = first
    if first < steps:
        estimator.train(data.input_fn, max_steps=steps, hooks=[data.position] + _timeline_hooks(
            flags, worker, first, steps))
        last = data.position.last_step
    if worker.is_chief:
        print("training took {}; checkpoint: {}".format(
            duration(time.time() - start), estimator.latest_checkpoint()), flush=True)
        _draw_loss(flags.output_dir)
        if last < steps:
            print("training was asked to stop at step {} of {}; the same command with the same "
                  "--output_dir goes on from there".format(last, steps), flush=True)
    return last >= steps


def _steps_done(directory: str) -> int:
    """The step of the last checkpoint in a directory, 0 if it has none."""
    path = latest_checkpoint(directory)
    return int(tf.train.load_variable(path, tf.GraphKeys.GLOBAL_STEP)) if path else 0


def _timeline_hooks(flags: argparse.Namespace, worker: Worker, first: int,
                    total: int) -> List[Any]:
    """The hook that `--profile` asks for; the first steps are slow, so it leaves them out."""
    if not flags.profile or not worker.timeline_hook:
        return []
    start = max(first, min(first + _STEPS_BEFORE_PROFILE, total - _PROFILED_STEPS))
    return [worker.timeline_hook(os.path.join(flags.output_dir, "timelines"),
                                 range(start, min(start + _PROFILED_STEPS, total)))]


def _draw_loss(directory: str) -> None:
    """Write the picture of the loss to the output directory, and say what became of it."""
    path = os.path.join(directory, "loss_curve.png")
    losses = summaries.read_losses(directory)
    if not loss_curve.can_draw():
        print("no {}: it needs matplotlib (pip install matplotlib)".format(path), flush=True)
    elif not losses:
        print("no {}: '{}' has no summaries of the loss".format(path, directory), flush=True)
    else:
        loss_curve.draw(losses, path)
        print("wrote {}".format(path), flush=True)


def predict(flags: argparse.Namespace, config: BertConfig, worker: Worker,
            questions: List[Question], windows: List[features.Window]) -> None:
    """Answer `questions` with all workers; the chief writes the answers to its output directory."""
    scores = prediction.score(_estimator(flags, config, worker), windows, flags, worker)
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
    for name, content in files.items():
        path = os.path.join(flags.output_dir, name)
        write_json(path, content)
        print("wrote {}".format(path), flush=True)


def _estimator(flags: argparse.Namespace, config: BertConfig, worker: Worker,
               total_steps: int = 0) -> Any:
    settings = tf.estimator.RunConfig(
        model_dir=flags.output_dir, tf_random_seed=flags.seed,
        save_checkpoints_steps=flags.save_checkpoints_steps, log_step_count_steps=None,
        save_summary_steps=0)  # SummaryHook writes them
    model = squad_model.SquadModel(config, flags, total_steps, worker)
    return tf.estimator.Estimator(model.build, config=settings)


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
