# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Hooks log and write the merged values of registered tensors, step by step."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from tests.graph import devices
from tests.graph.devices import BOTH, PIPELINE, REPLICAS, ROWS

KEYS = epl.GraphKeys
STEPS = 3


class Kept(tf.train.LoggingTensorHook):
    """Keeps what a LoggingTensorHook prints."""

    def __init__(self, tensors):
        self.lines = []
        super().__init__(tensors, every_n_iter=1, formatter=self.keep)

    def keep(self, values):
        self.lines.append({tag: np.copy(value) for tag, value in values.items()})
        return ""


def written(directory):
    """(step, tag) -> number, or the sum of a histogram, of the summaries in a directory."""
    found = {}
    for name in os.listdir(directory):
        if "tfevents" in name:
            for event in tf.train.summary_iterator(os.path.join(directory, name)):
                for value in event.summary.value:
                    kind = value.WhichOneof("value")
                    found[event.step, value.tag] = (
                        value.histo.sum if kind == "histo" else value.simple_value)
    return found


@pytest.mark.parametrize("layout", [PIPELINE, REPLICAS, BOTH], ids=str)
def test_hooks_of_a_monitored_session_see_the_values_of_the_global_batch(layout, tmp_path):
    with devices.started(layout):
        model = devices.fit(devices.stages(layout))
        largest, total = tf.reduce_max(model.x), tf.reduce_sum(model.x)
        rows, pair = tf.identity(model.x), tf.stack([largest, -largest])
        epl.add_to_collection([largest, pair], KEYS.GLOBAL_MEAN_OBJECTS)
        epl.add_to_collection(total, KEYS.LOCAL_SUM_OBJECTS)
        epl.add_to_collection(rows, KEYS.GLOBAL_CONCAT_OBJECTS)
        shown = {"largest": largest, "total": total, "mean_error": model.loss}
        for tag, tensor in shown.items():
            tf.summary.scalar(tag, tensor)
        tf.summary.histogram("rows", rows)
        log = Kept(dict(shown, rows=rows, pair=pair))
        writer = tf.train.SummarySaverHook(
            1, output_dir=str(tmp_path), summary_op=tf.summary.merge_all())
        with tf.train.MonitoredTrainingSession(
                hooks=[log, writer], config=devices.session_config()) as session:
            for number in range(STEPS):
                session.run(model.train, {model.x: ROWS + number})
    summaries = written(str(tmp_path))
    assert len(log.lines) == STEPS and len(summaries) == 4 * STEPS
    weight = 0.0
    for number, line in enumerate(log.lines):
        data = ROWS + number
        mean = np.mean([part.max() for part in np.split(data, layout.clones)])
        expected = {"largest": mean, "total": data.sum(), "rows": data, "pair": [mean, -mean],
                    "mean_error": np.mean((data - weight) ** 2)}
        assert set(line) == set(expected)
        for tag, value in expected.items():
            np.testing.assert_array_equal(line[tag], value, err_msg=tag)
            if tag != "pair":
                assert summaries[number + 1, tag] == np.sum(value), tag
        weight += 0.5 * (data.mean() - weight)
