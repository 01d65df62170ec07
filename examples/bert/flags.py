# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command line of the question answering scripts."""

import argparse
import os
from typing import Any, Dict, List, Optional

from examples.bert.errors import UserError


def parse(description: str, arguments: Optional[List[str]] = None,
          num_micro_batch: Optional[int] = None) -> argparse.Namespace:
    """Parse a command line; wrong usage ends the program with code 2.

    Args:
      description: what `--help` says about the script.
      arguments: the arguments; None means those of this process.
      num_micro_batch: the script's default for the flag of this name; None leaves it to EPL.

    Raises:
      UserError: values that parse but cannot be used.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    _add_files(parser)
    _add_training(parser)
    _add_reading(parser)
    _add_features(parser)
    _add_parallel(parser, num_micro_batch)
    flags = parser.parse_args(arguments)
    _check(flags)
    return flags


def epl_settings(flags: argparse.Namespace) -> Dict[str, Any]:
    """What the command line asks of EPL, as keys and values of `epl.Config`."""
    settings = {"pipeline.num_micro_batch": flags.num_micro_batch,
                "gradient_checkpoint.type": flags.gc, "amp.level": flags.amp,
                "zero.level": flags.zero, "offload.level": flags.offload,
                "optimizer.num_apply_group": flags.apply_groups}
    return {key: value for key, value in settings.items() if value}


def beyond_one_device(flags: argparse.Namespace) -> List[str]:
    """The flags of EPL, with their values, that ask for more than plain TensorFlow does."""
    names = ("num_pipe_stages", "num_micro_batch", "gc", "amp", "zero", "offload",
             "apply_groups", "memory_limit_mb")
    found = ["--{} {}".format(name, getattr(flags, name)) for name in names
             if getattr(flags, name) not in (None, 1, "")]
    return found + (["--profile"] if flags.profile else [])


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument("--vocab_file", required=True, help="the model's vocab.txt")
    group.add_argument("--bert_config_file", required=True, help="the model's bert_config.json")
    group.add_argument("--init_checkpoint", help="checkpoint to start from, e.g. bert_model.ckpt")
    group.add_argument("--output_dir", required=True, help="checkpoints, summaries, predictions")
    group.add_argument("--train_file", help="questions to train on, in SQuAD format")
    group.add_argument("--predict_file", help="questions to answer, in SQuAD format")
    group.add_argument("--do_train", type=_truth, nargs="?", const=True, default=False)
    group.add_argument("--do_predict", type=_truth, nargs="?", const=True, default=False)


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("--train_batch_size", type=_positive, default=32,
                       help="rows of a step, over all workers, replicas and "
                            "micro-batches (default %(default)s)")
    group.add_argument("--predict_batch_size", type=_positive, default=8)
    group.add_argument("--learning_rate", type=float, default=5e-5)
    group.add_argument("--num_train_epochs", type=float, default=3.0,
                       help="epochs over the data set (default %(default)s)")
    group.add_argument("--warmup_proportion", type=float, default=0.1,
                       help="part of the steps in which the rate rises (default %(default)s)")
    group.add_argument("--save_checkpoints_steps", type=_positive, default=1000)
    group.add_argument("--seed", type=int, default=1, help="of weights, dropout and data order")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("texts and answers")
    group.add_argument("--do_lower_case", type=_truth, nargs="?", const=True, default=True)
    group.add_argument("--max_seq_length", type=_positive, default=384)
    group.add_argument("--doc_stride", type=_positive, default=128)
    group.add_argument("--max_query_length", type=_positive, default=64)
    group.add_argument("--max_answer_length", type=_positive, default=30)
    group.add_argument("--n_best_size", type=_positive, default=20)
    group.add_argument("--version_2_with_negative", type=_truth, nargs="?", const=True,
                       default=False, help="some questions have no answer (SQuAD 2.0)")
    group.add_argument("--null_score_diff_threshold", type=float, default=0.0,
                       help="no answer if that scores better than all others by more than this; "
                            "evaluate-v2.0.py finds the best one (default %(default)s)")


def _add_features(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("features")
    cache = os.environ.get("EPL_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "epl")
    group.add_argument("--feature_cache_dir", type=_path,
                       default=os.path.join(cache, "features"),
                       help="where converted questions are kept; any number of runs and workers "
                            "may share it (default %(default)s)")
    group.add_argument("--feature_processes", type=_positive, default=len(os.sched_getaffinity(0)),
                       help="processes that convert questions (default: the CPU cores)")


def _add_parallel(parser: argparse.ArgumentParser, num_micro_batch: Optional[int]) -> None:
    group = parser.add_argument_group("EPL")
    group.add_argument("--num_pipe_stages", type=_positive,
                       help="devices that share one copy of the model (default in "
                            "run_squad_pipe.py: all devices of a worker)")
    group.add_argument("--num_micro_batch", type=_positive, default=num_micro_batch,
                       help="parts of a step that a copy of the model runs one after the other "
                            "(default {})".format(num_micro_batch or 1))
    group.add_argument("--gc", default="", metavar="auto|collection",
                       help="compute activations again in the backward pass: between chosen "
                            "tensors, or between the outputs of layers")
    group.add_argument("--amp", default="", metavar="o1", help="automatic mixed precision")
    group.add_argument("--zero", default="", metavar="v0|v1|v2",
                       help="share out over workers what the optimizer keeps, gradients too, "
                            "parameters too")
    group.add_argument("--offload", default="", metavar="v0",
                       help="keep variables and what the optimizer keeps on the host")
    group.add_argument("--apply_groups", type=_positive,
                       help="update variables in so many groups, one after the other")
    group.add_argument("--memory_limit_mb", type=_positive,
                       help="end before training if a device is predicted to need more MiB")
    group.add_argument("--profile", type=_truth, nargs="?", const=True, default=False,
                       help="write timelines of three training steps to OUTPUT_DIR/timelines")


def _check(flags: argparse.Namespace) -> None:
    if not flags.do_train and not flags.do_predict:
        raise UserError("nothing to do: give --do_train, --do_predict or both")
    if flags.do_train and not flags.train_file:
        raise UserError("--do_train needs --train_file")
    if flags.profile and not flags.do_train:
        raise UserError("--profile shows training steps; give --do_train too")
    if flags.do_predict and not flags.predict_file:
        raise UserError("--do_predict needs --predict_file")
    for name in ("learning_rate", "num_train_epochs"):
        if getattr(flags, name) <= 0:
            raise UserError("--{} {} must be greater than 0".format(name, getattr(flags, name)))
    if not flags.version_2_with_negative and flags.null_score_diff_threshold:
        raise UserError("--null_score_diff_threshold {} has no effect without "
                        "--version_2_with_negative".format(flags.null_score_diff_threshold))
    if not 0 <= flags.warmup_proportion < 1:
        raise UserError("--warmup_proportion {} is not in [0, 1)".format(flags.warmup_proportion))
    if os.path.exists(flags.output_dir) and not os.path.isdir(flags.output_dir):
        raise UserError("--output_dir '{}' is a file".format(flags.output_dir))


def _path(text: str) -> str:
    return os.path.expanduser(text)


def _truth(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError("'{}' is neither true nor false".format(text))
    return values[text.lower()]


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError("'{}' is not a whole number of at least 1".format(text))
    return value
