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

from examples.bert import features, predictions, squad_model
from examples.bert import flags as command_line
from examples.bert.batches import Batches
from examples.bert.bert_config import BertConfig
from examples.bert.checkpoints import checkpoint_shapes
from examples.bert.errors import UserError, exit_code
from examples.bert.files import write_json
from examples.bert.progress import duration
from examples.bert.squad import Question, read_questions
from examples.bert.tokenization import Tokenizer, Vocabulary
from examples.bert.worker import Worker

tf.logging.set_verbosity(tf.logging.ERROR)
tf.disable_v2_behavior()


class Texts:
    """Turns questions into windows as the command line says."""

    def __init__(self, flags: argparse.Namespace, config: BertConfig):
        self._flags = flags
        self._vocabulary = Vocabulary(flags.vocab_file)
        self._lengths = features.Lengths(flags.max_seq_length, flags.max_query_length,
                                         flags.doc_stride)
        self._lengths.check()
        if len(self._vocabulary) != config.vocab_size:
            raise UserError("'{}' has {} word pieces, but '{}' says vocab_size {}: take both from "
                            "the same model".format(flags.vocab_file, len(self._vocabulary),
                                                flags.bert_config_file, config.vocab_size))
        if flags.max_seq_length > config.max_position_embeddings:
            raise UserError("--max_seq_length {} exceeds the model's max_position_embeddings {}"
                            .format(flags.max_seq_length, config.max_position_embeddings))
        self._tokenizer = Tokenizer(self._vocabulary, flags.do_lower_case)

    def read(self, path: str, with_answers: bool) -> List[Question]:
        """The questions of a file."""
        return read_questions(path, with_answers, self._flags.version_2_with_negative)

    def windows(self, questions: List[Question], path: str) -> List[features.Window]:
        """The windows of questions that come from the file `path`."""
        try:
            return features.make_windows(questions, self._tokenizer, self._vocabulary,
                                         self._lengths)
        except UserError as error:
            raise UserError("'{}', {}".format(path, error)) from None


def run(flags: argparse.Namespace, worker: Worker) -> None:
    """Train, then answer questions, as the command line says."""
    config = BertConfig.from_json_file(flags.bert_config_file)
    _check_division(flags, config, worker)
    texts = Texts(flags, config)
    if flags.init_checkpoint:
        checkpoint_shapes(flags.init_checkpoint)
    train_questions = texts.read(flags.train_file, True) if flags.do_train else []
    asked = texts.read(flags.predict_file, False) if flags.do_predict else []
    if flags.do_train:
        train(flags, config, worker, texts.windows(train_questions, flags.train_file))
    if flags.do_predict and worker.is_chief:
        predict(flags, config, worker, asked, texts.windows(asked, flags.predict_file))


def _check_division(flags: argparse.Namespace, config: BertConfig, worker: Worker) -> None:
    """Refuse at once what would fail only after all files are read."""
    config.layers_per_stage(worker.stages)
    if flags.do_train:
        worker.rows_of_clone(flags.train_batch_size)


def train(flags: argparse.Namespace, config: BertConfig, worker: Worker,
          windows: List[features.Window]) -> None:
    """Train for the epochs that the command line asks for, from the last checkpoint on."""
    batches = Batches(len(windows), flags.train_batch_size, flags.seed, worker)
    steps = batches.steps(flags.num_train_epochs)
    if not steps:
        raise UserError("{} sequences in batches of {} make no step in {} epochs".format(
            len(windows), flags.train_batch_size, flags.num_train_epochs))
    if worker.is_chief:
        print("training: {} sequences, {} steps of {} on {} worker(s) x {} replica(s) of {} "
              "stage(s), {} micro-batch(es) of {} each".format(
                  len(windows), steps, flags.train_batch_size, worker.number, worker.replicas,
                  worker.stages, worker.micro_batches, batches.rows_per_micro_batch), flush=True)
    start = time.time()
    estimator = _estimator(flags, config, worker, steps)
    data = squad_model.TrainingData(windows, batches, flags.max_seq_length)
    estimator.train(data.input_fn, hooks=[data.position], max_steps=steps)
    if worker.is_chief:
        print("training took {}; checkpoint: {}".format(
            duration(time.time() - start), estimator.latest_checkpoint()), flush=True)


def predict(flags: argparse.Namespace, config: BertConfig, worker: Worker,
            questions: List[Question], windows: List[features.Window]) -> None:
    """Answer `questions` and write the answers to the output directory."""
    estimator = _estimator(flags, config, worker)
    if estimator.latest_checkpoint() is None and not flags.init_checkpoint:
        raise UserError("no checkpoint in --output_dir '{}': give --do_train or --init_checkpoint"
                        .format(flags.output_dir))
    input_fn = squad_model.predict_input_fn(windows, flags.predict_batch_size, flags.max_seq_length)
    outputs = estimator.predict(input_fn)
    scored = (predictions.Scored(window, output["start_logits"], output["end_logits"])
              for window, output in zip(windows, outputs))
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
        save_checkpoints_steps=flags.save_checkpoints_steps, log_step_count_steps=None)
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
