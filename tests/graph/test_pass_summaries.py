# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""In a step a summary of a merged tensor shows the merged value; the script's own is untouched."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import epl
from epl.rewrite.rewriter import rewrite
from tests.graph import devices
from tests.graph.devices import ROWS, Layout

TWO = Layout(micro_batches=2)
KEYS = epl.GraphKeys


def shown(text):
    """tag -> value of a serialized summary."""
    return {value.tag: value for value in tf.Summary.FromString(text).value}


def image(rows):
    """Every row as a picture of one grey value."""
    return tf.reshape(rows / 8.0, [-1, 1, 1, 1]) * tf.ones([1, 2, 2, 1])


# Kind of summary -> (what is registered, the summary of it, the number of pieces it shows).
SUMMARIES = {
    "histogram": (tf.identity, lambda t: tf.summary.histogram("seen", t)),
    "image": (image, lambda t: tf.summary.image("seen", t, max_outputs=8)),
    "audio": (lambda x: tf.reshape(x / 8.0, [-1, 1, 1]) * tf.ones([1, 16, 1]),
              lambda t: tf.summary.audio("seen", t, 16, max_outputs=8)),
    "text": (tf.as_string, lambda t: tf.summary.text("seen", t)),
    "tensor": (tf.identity, lambda t: tf.summary.tensor_summary("seen", t)),
}


def pieces(kind, values):
    """How many of the rows a summary shows."""
    if kind == "histogram":
        return values["seen"].histo.num
    if kind in ("text", "tensor"):
        return tf.make_ndarray(values["seen"].tensor).shape[0]
    return len(values)


@pytest.mark.parametrize("kind", sorted(SUMMARIES))
def test_a_summary_of_rows_shows_those_of_all_clones(kind):
    with devices.started(TWO):
        register, summarize = SUMMARIES[kind]
        model = devices.fit(devices.stages(TWO))
        value = register(model.x)
        summary = summarize(value)
        epl.add_to_collection(value, KEYS.LOCAL_CONCAT_OBJECTS)
        with devices.session() as session:
            step, _ = session.run([summary, model.train], {model.x: ROWS})
            outside = session.run(summary, {model.x: ROWS[:3]})
    assert pieces(kind, shown(step)) == 8
    assert pieces(kind, shown(outside)) == 3


def test_a_histogram_counts_every_row_once():
    with devices.started(TWO):
        model = devices.fit(devices.stages(TWO))
        summary = tf.summary.histogram("seen", model.x)
        epl.add_to_collection(model.x, KEYS.GLOBAL_CONCAT_OBJECTS)
        with devices.session() as session:
            histogram = shown(session.run([summary, model.train], {model.x: ROWS})[0])["seen"].histo
    assert (histogram.min, histogram.max, histogram.sum) == (1.0, 8.0, ROWS.sum())


@pytest.mark.parametrize("key, expected", [
    (KEYS.GLOBAL_MEAN_OBJECTS, 6.0), (KEYS.LOCAL_SUM_OBJECTS, 12.0)])
def test_a_scalar_shows_what_its_collection_says(key, expected):
    with devices.started(TWO):
        model = devices.fit(devices.stages(TWO))
        largest = tf.reduce_max(model.x)  # 4 and 8
        summary = tf.summary.scalar("seen", largest)
        epl.add_to_collection(largest, key)
        with devices.session() as session:
            step, _ = session.run([summary, model.train], {model.x: ROWS})
            assert shown(session.run(summary, {model.x: ROWS}))["seen"].simple_value == 8.0
    assert shown(step)["seen"].simple_value == expected


@pytest.mark.parametrize("merge", [
    tf.summary.merge_all, lambda: tf.summary.merge(tf.get_collection(tf.GraphKeys.SUMMARIES)),
    lambda: tf.summary.merge([tf.summary.merge_all()])], ids=["all", "some", "nested"])
def test_merged_summaries_hold_merged_and_other_values(merge):
    with devices.started(TWO):
        model = devices.fit(devices.stages(TWO))
        tf.summary.scalar("shown", model.loss)
        tf.summary.scalar("largest", tf.reduce_max(model.x))
        tf.summary.scalar("weight", model.weight)
        every = merge()
        with devices.session() as session:
            step, _ = session.run([every, model.train], {model.x: ROWS})
            outside = session.run(every, {model.x: ROWS})
    step = {tag: value.simple_value for tag, value in shown(step).items()}
    assert set(step) == {"shown", "largest", "weight"}
    assert (step["shown"], step["largest"]) == (25.5, 8.0)
    outside = {tag: value.simple_value for tag, value in shown(outside).items()}
    assert outside == {"shown": np.mean((ROWS - 2.25) ** 2), "largest": 8.0, "weight": 2.25}


def test_the_scripts_own_summaries_are_left_alone():
    with devices.started(TWO) as graph:
        model = devices.fit(devices.stages(TWO))
        own = [tf.summary.scalar("loss", model.loss), tf.summary.histogram("x", model.x)]
        own.append(tf.summary.merge_all())
        before = [(t.op.node_def, [i.name for i in t.op.inputs]) for t in own]
        rewrite(graph)
        assert [(t.op.node_def, [i.name for i in t.op.inputs]) for t in own] == before
        assert len(tf.get_collection(tf.GraphKeys.SUMMARIES)) == 2


def test_a_summary_that_comes_later_is_merged_too():
    with devices.started(TWO) as graph:
        model = devices.fit(devices.stages(TWO))
        rewrite(graph)
        summary = tf.summary.scalar("late", model.loss)
        with devices.session() as session:
            step, _ = session.run([summary, model.train], {model.x: ROWS})
    assert shown(step)["late"].simple_value == 25.5
