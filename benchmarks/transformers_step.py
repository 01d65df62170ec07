# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""One process of `minilm.py`: time training steps of BERT by PyTorch/Transformers.

Usage: transformers_step.py MODEL_DIR TRAIN_FILE BATCH LENGTH STRIDE WARM_UP STEPS
The sequences, the sizes, dropout, AdamW with decay and clipping are those of the BERT example, the
weights are random; the optimizer is PyTorch's fused one. Prints `EXAMPLES_PER_SECOND <number>` of
the steps after the warm-up.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import torch  # noqa: E402
import transformers  # noqa: E402

from examples.bert import features, squad, tokenization  # noqa: E402

INPUTS = {"input_ids": "input_ids", "input_mask": "attention_mask",
          "segment_ids": "token_type_ids", "start_positions": "start_positions",
          "end_positions": "end_positions"}


def read(directory, path, length, stride):
    """All windows of a file."""
    reader = features.Reader(tokenization.Vocabulary(os.path.join(directory, "vocab.txt")), True,
                             features.Lengths(length, 64, stride))
    return reader.windows(squad.read_questions(path, True, False).questions)


def train(model, optimizer, columns):
    """One step."""
    fed = {name: torch.tensor(columns[column], dtype=torch.long)
           for column, name in INPUTS.items()}
    loss = model(**fed).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss)


def main(directory, path, batch, length, stride, warm_up, steps):
    with open(os.path.join(directory, "bert_config.json")) as file:
        config = transformers.BertConfig(**json.load(file))
    torch.manual_seed(1)
    model = transformers.BertForQuestionAnswering(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    windows = read(directory, path, length, stride)
    start = 0.0
    for step in range(steps):
        if step == warm_up:
            start = time.time()
        rows = [windows[(step * batch + row) % len(windows)] for row in range(batch)]
        train(model, optimizer, features.columns(rows, length))
    print("EXAMPLES_PER_SECOND {:.3f}".format(
        batch * (steps - warm_up) / (time.time() - start)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *[int(argument) for argument in sys.argv[3:]])
