# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Throughput of the BERT example on MiniLM, beside PyTorch/Transformers on the same cores.

    python benchmarks/minilm.py --model data/minilm --torch_python DIR/bin/python --rounds 5
    python benchmarks/minilm.py --model data/minilm --rounds 1 --steps 5    # does it run?

Every round trains, one after the other, each with all cores of the machine:
  plain          `run_squad.py`, TensorFlow on one device
  dp             `run_squad_dp.py` with two workers under `epl-launch`
  pipe           `run_squad_pipe.py`, two stages, 4 micro-batches, one worker
  transformers   `transformers_step.py`, if a Python with torch and transformers is given
Counted are the steps after the first few, as the runs themselves recorded them; memory is the most
that one process held. Reported are medians over the rounds, and the medians of the ratios within a
round. Writes `minilm_tf<version>.md` and `.png`.
"""

import argparse
import os
import statistics
import sys
import tempfile

import measuring
from measuring import ROOT, median_ratio

sys.path.insert(0, ROOT)
from examples.bert import features, squad, tokenization  # noqa: E402

BERT = os.path.join(ROOT, "examples", "bert")
BATCH, LENGTH, STRIDE = 16, 256, 128
WARM_UP = 3
PLAIN, DP, PIPE, TORCH = "plain", "dp", "pipe", "transformers"
COLORS = {PLAIN: "#b0b0b0", DP: "#3070b0", PIPE: "#d9822b", TORCH: "#70a070"}
LAUNCHER = {DP: ["--num_workers", "2"], PIPE: ["--num_workers", "1", "--gpu_per_worker", "2"]}


def command(kind, options, folder):
    """Arguments of the Python that trains, and the directory of its summaries."""
    sizes = ["--feature_cache_dir", os.path.join(folder, "features"), "--train_batch_size",
             str(BATCH), "--max_seq_length", str(LENGTH), "--doc_stride", str(STRIDE),
             "--num_train_epochs", repr(options.epochs)]
    files = ["--vocab_file", os.path.join(options.model, "vocab.txt"), "--bert_config_file",
             os.path.join(options.model, "bert_config.json"), "--train_file", options.train_file]
    if kind == PLAIN:
        return [os.path.join(BERT, "run_squad.py"), "--do_train", "--output_dir",
                folder] + files + sizes, folder
    name = "run_squad_{}.py".format(kind)
    outputs = os.path.join(folder, "model")
    return ["-m", "epl.launcher", "--log_dir", os.path.join(folder, "logs")] + LAUNCHER[kind] + [
        os.path.join(BERT, name), "--do_train", "--output_dir", outputs] + files + sizes, outputs


def pace(directory, steps):
    """Examples per second after the warm-up, by the times of the summaries in `directory`."""
    import tensorflow.compat.v1 as tf

    times = {}
    for name in os.listdir(directory):
        if "tfevents" in name:
            for event in tf.train.summary_iterator(os.path.join(directory, name)):
                if event.summary.value:
                    times[event.step] = event.wall_time
    assert sorted(times) == list(range(1, steps + 1)), sorted(times)
    return BATCH * (steps - WARM_UP) / (times[steps] - times[WARM_UP])


def run(process):
    """Wait for a process; its output and the most memory of it or of one that it waited for."""
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("{} failed:\n{}".format(process.args, output[-3000:]))
    return output, usage.ru_maxrss / 1024


def measure(kind, options):
    """(examples per second, MiB of the largest process) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == TORCH:
            script = os.path.join(measuring.HERE, "transformers_step.py")
            numbers = [BATCH, LENGTH, STRIDE, WARM_UP, options.steps]
            output, memory = run(measuring.start(
                [script, options.model, options.train_file] + [str(n) for n in numbers],
                program=options.torch_python))
            return float(output.split("EXAMPLES_PER_SECOND")[1].split()[0]), memory
        arguments, summaries = command(kind, options, folder)
        _, memory = run(measuring.start(arguments))
        return pace(summaries, options.steps), memory


def windows_in(options):
    """How many sequences the training file makes."""
    reader = features.Reader(tokenization.Vocabulary(os.path.join(options.model, "vocab.txt")),
                             True, features.Lengths(LENGTH, 64, STRIDE))
    return len(reader.windows(squad.read_questions(options.train_file, True, False).questions))


def table(speed, memory):
    """The results as a Markdown table; both map a kind to one number per round."""
    header = ["", "examples/s", "lowest and highest", "/ plain"]
    header += ["/ transformers"] if TORCH in speed else []
    rows = []
    for kind, values in speed.items():
        row = [kind, "{:.2f}".format(statistics.median(values)),
               "{:.2f} to {:.2f}".format(min(values), max(values)),
               "{:.3f}".format(median_ratio(values, speed[PLAIN]))]
        row += ["{:.3f}".format(median_ratio(values, speed[TORCH]))] if TORCH in speed else []
        rows.append(row + ["{:.0f}".format(statistics.median(memory[kind]))])
    return measuring.table(header + ["MiB, largest process"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=os.path.join(ROOT, "data", "minilm"),
                        help="directory with bert_config.json and vocab.txt")
    parser.add_argument("--train_file", default=os.path.join(BERT, "sample", "train.json"))
    parser.add_argument("--torch_python", help="a Python that has torch and transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of each run, with the warm-up")
    measuring.add_output_option(parser)
    options = parser.parse_args()
    if options.steps <= WARM_UP:
        parser.error("--steps {}: the first {} do not count".format(options.steps, WARM_UP))
    options.epochs = (options.steps + 0.5) * BATCH / windows_in(options)
    kinds = [PLAIN, DP, PIPE] + ([TORCH] if options.torch_python else [])
    speed, memory = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    for number in range(options.rounds):
        for kind in kinds:
            found = measure(kind, options)
            speed[kind].append(found[0])
            memory[kind].append(found[1])
            print("round {} {:14}{:7.2f} examples/s{:7.0f} MiB".format(number, kind, *found),
                  flush=True)
    version = measuring.tensorflow_version()
    title = "TensorFlow {}, MiniLM, {} rows of {} a step, {} rounds".format(
        version, BATCH, LENGTH, options.rounds)
    figure, axis = measuring.pyplot().subplots(figsize=(6, 3.6))
    measuring.bars(axis, speed, [COLORS[kind] for kind in kinds])
    axis.set_ylabel("examples/s")
    axis.set_title(title, fontsize=10)
    measuring.write(measuring.output_name(options.output, "minilm", version),
                    [title, table(speed, memory)], figure)


if __name__ == "__main__":
    main()
