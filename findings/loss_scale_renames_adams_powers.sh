#!/usr/bin/env bash
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
#
# TensorFlow 2.15.1: enable_mixed_precision_graph_rewrite renames variables of Adam, so that a
# checkpoint from before cannot be restored after.
#
# Guess: an optimizer that is wrapped keeps its variables under their names, beside two new ones for
# the loss scale, so that a training goes on in mixed precision from its checkpoint.
# Behaviour: the wrapper builds the update inside of a tf.cond, and Adam makes beta1_power and
# beta2_power there: they are called cond_1/beta1_power and cond_1/beta2_power. Slots keep their
# names. A saver of what the script had before the change does not find them.
# Seen: TensorFlow 2.15.1: beta1_power, beta2_power became cond_1/beta1_power, cond_1/beta2_power;
# w/Adam stayed; restore: NotFoundError

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.15.1 "numpy==1.26.4"
cat >"$folder/program.py" <<'PYTHON'
import sys

import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)


def build(mixed):
    weight = tf.get_variable("w", [2], initializer=tf.ones_initializer())
    optimizer = tf.train.AdamOptimizer(0.1)
    if mixed:
        optimizer = tf.mixed_precision.enable_mixed_precision_graph_rewrite(optimizer)
    train = optimizer.minimize(tf.reduce_sum(tf.square(weight)))
    return train, {v.op.name for v in tf.global_variables()}


with tf.Graph().as_default(), tf.Session() as session:
    train, before = build(False)
    session.run(tf.global_variables_initializer())
    session.run(train)
    path = tf.train.Saver().save(session, sys.argv[1] + "/model")
with tf.Graph().as_default(), tf.Session() as session:
    train, after = build(True)
    own = [v for v in tf.global_variables()
           if v.op.name.split("/")[-1] not in ("current_loss_scale", "good_steps")]
    try:
        tf.train.Saver(own).restore(session, path)
        outcome = "works"
    except tf.errors.NotFoundError as error:
        outcome = type(error).__name__
gone, new = sorted(before - after), sorted(name for name in after - before if "power" in name)
print("TensorFlow {}: {} became {}; w/Adam {}; restore: {}".format(
    tf.__version__, ", ".join(gone), ", ".join(new),
    "stayed" if "w/Adam" in after else "is gone", outcome))
assert gone == ["beta1_power", "beta2_power"], "the behaviour is gone"
assert all(name.startswith("cond") for name in new) and outcome == "NotFoundError"
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES="" "$folder/venv/bin/python" -W ignore \
  "$folder/program.py" "$folder"
