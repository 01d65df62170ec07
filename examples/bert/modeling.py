# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The BERT encoder (Devlin et al. 2018, https://arxiv.org/abs/1810.04805).

Variables have the names and shapes of the public TensorFlow 1 checkpoints, e.g.
`bert/encoder/layer_0/attention/self/query/kernel`.

Shapes in this module: B rows (sequences), S positions, H hidden size, A attention heads.
Between layers the hidden states are a matrix [B*S, H], so that every dense layer is one plain
matrix product.
"""

import math
from typing import Any, Callable, List, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from examples.bert.bert_config import BertConfig

__all__ = ["BertConfig", "Encoded", "bert", "span_logits"]

_LAYER_NORM_EPSILON = 1e-12
_MASKED = -10000.0


class Encoded(NamedTuple):
    """What the encoder returns.

    Attributes:
      sequence_output: float32 [B, S, H], the last layer's hidden states.
      pooled_output: float32 [B, H], a tanh layer over the first position.
      hidden_states: float32 [B*S, H] each, the embeddings and the output of every layer.
    """

    sequence_output: Any
    pooled_output: Any
    hidden_states: List[Any]


def bert(config: BertConfig, input_ids: Any, input_mask: Any, segment_ids: Any,
         training: bool, num_stages: int = 1,
         on_stage: Optional[Callable[[int], None]] = None) -> Encoded:
    """Build the encoder under the variable scope "bert".

    Args:
      config: sizes and dropout rates.
      input_ids: int32 [B, S], word piece ids.
      input_mask: int32 [B, S], 1 for real positions and 0 for padding.
      segment_ids: int32 [B, S], 0 for the first text and 1 for the second.
      training: True switches dropout on.
      num_stages: stages of equal size that the layers are divided into.
      on_stage: called with the number of each stage, from 0, before its first layer is built.

    Returns:
      An `Encoded`.

    Raises:
      UserError: the layers cannot be divided into so many stages.
      ValueError: S is unknown or exceeds `config.max_position_embeddings`.
    """
    length = input_ids.shape.as_list()[1]
    if length is None or length > config.max_position_embeddings:
        raise ValueError("sequences of {} positions: the length must be known and at most {} "
                         "(max_position_embeddings)".format(length, config.max_position_embeddings))
    layers_per_stage = config.layers_per_stage(num_stages)
    with tf.variable_scope("bert"):
        states = [_embeddings(config, input_ids, segment_ids, length, training)]
        bias = _attention_bias(input_mask)
        with tf.variable_scope("encoder"):
            for layer in range(config.num_hidden_layers):
                if on_stage and layer % layers_per_stage == 0:
                    on_stage(layer // layers_per_stage)
                with tf.variable_scope("layer_{}".format(layer)):
                    states.append(_layer(config, states[-1], bias, length, training))
        sequence = tf.reshape(states[-1], [-1, length, config.hidden_size])
        with tf.variable_scope("pooler"):
            pooled = tf.tanh(_dense(config, sequence[:, 0], config.hidden_size, "dense"))
    return Encoded(sequence, pooled, states)


def span_logits(config: BertConfig, sequence_output: Any) -> Any:
    """The question answering head: a score for every position to be the answer's start or end.

    Args:
      config: sizes.
      sequence_output: float32 [B, S, H].

    Returns:
      (start, end), float32 [B, S] each.
    """
    length = sequence_output.shape[1]
    with tf.variable_scope("cls/squad"):
        weights = tf.get_variable("output_weights", [2, config.hidden_size],
                                  initializer=_initializer(config))
        bias = tf.get_variable("output_bias", [2], initializer=tf.zeros_initializer())
    hidden = tf.reshape(sequence_output, [-1, config.hidden_size])
    logits = tf.nn.bias_add(tf.matmul(hidden, weights, transpose_b=True), bias)
    return tuple(tf.unstack(tf.reshape(logits, [-1, length, 2]), axis=2))


def _embeddings(config: BertConfig, input_ids: Any, segment_ids: Any, length: int,
                training: bool) -> Any:
    """The sum of word, segment and position embeddings, normalised: [B*S, H]."""
    with tf.variable_scope("embeddings"):
        words = _table(config, "word_embeddings", config.vocab_size)
        segments = _table(config, "token_type_embeddings", config.type_vocab_size)
        positions = _table(config, "position_embeddings", config.max_position_embeddings)
        # A product with one-hot rows: a gather's gradient would be one row per token of the batch.
        segment = tf.matmul(
            tf.one_hot(tf.reshape(segment_ids, [-1]), config.type_vocab_size), segments)
        total = (tf.nn.embedding_lookup(words, input_ids)
                 + tf.reshape(segment, [-1, length, config.hidden_size])
                 + positions[:length])
        hidden = _layer_norm(tf.reshape(total, [-1, config.hidden_size]))
        return _dropout(hidden, config.hidden_dropout_prob, training)


def _attention_bias(input_mask: Any) -> Any:
    """Added to attention scores: 0 for real positions, far below them for padding. [B, 1, 1, S]"""
    bias = (1.0 - tf.cast(input_mask, tf.float32)) * _MASKED
    return bias[:, tf.newaxis, tf.newaxis, :]


def _layer(config: BertConfig, hidden: Any, bias: Any, length: int, training: bool) -> Any:
    """One encoder layer: attention and a two-layer network, each added to its input."""
    with tf.variable_scope("attention"):
        context = _self_attention(config, hidden, bias, length, training)
        with tf.variable_scope("output"):
            hidden = _residual(config, context, hidden, training)
    with tf.variable_scope("intermediate"):
        wide = _gelu(_dense(config, hidden, config.intermediate_size, "dense"))
    with tf.variable_scope("output"):
        return _residual(config, wide, hidden, training)


def _self_attention(config: BertConfig, hidden: Any, bias: Any, length: int, training: bool) -> Any:
    """Scaled dot-product attention over A heads: [B*S, H] -> [B*S, H]."""
    heads = config.num_attention_heads
    size = config.hidden_size // heads

    def split_heads(name: str) -> Any:
        flat = _dense(config, hidden, config.hidden_size, name)
        return tf.transpose(tf.reshape(flat, [-1, length, heads, size]), [0, 2, 1, 3])

    with tf.variable_scope("self"):
        query, key, value = [split_heads(name) for name in ("query", "key", "value")]
        scores = tf.matmul(query, key, transpose_b=True) * (1.0 / math.sqrt(size)) + bias
        weights = _dropout(tf.nn.softmax(scores), config.attention_probs_dropout_prob, training)
        context = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return tf.reshape(context, [-1, config.hidden_size])


def _residual(config: BertConfig, inputs: Any, shortcut: Any, training: bool) -> Any:
    """Project `inputs` to H columns, drop out, add `shortcut`, normalise."""
    projected = _dense(config, inputs, config.hidden_size, "dense")
    return _layer_norm(_dropout(projected, config.hidden_dropout_prob, training) + shortcut)


def _dense(config: BertConfig, inputs: Any, units: int, name: str) -> Any:
    """`inputs` [N, K] times a kernel [K, units], plus a bias."""
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [int(inputs.shape[-1]), units],
                                 initializer=_initializer(config))
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
    return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)


def _layer_norm(inputs: Any) -> Any:
    """Rows of `inputs` [N, H] with mean 0 and variance 1, then scaled and shifted."""
    size = int(inputs.shape[-1])
    with tf.variable_scope("LayerNorm"):
        beta = tf.get_variable("beta", [size], initializer=tf.zeros_initializer())
        gamma = tf.get_variable("gamma", [size], initializer=tf.ones_initializer())
    centered = inputs - tf.reduce_mean(inputs, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), -1, keepdims=True)
    return centered * tf.math.rsqrt(variance + _LAYER_NORM_EPSILON) * gamma + beta


def _gelu(x: Any) -> Any:
    """x times the standard normal distribution function at x (Hendrycks and Gimpel 2016)."""
    return x * (0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5))))


def _dropout(x: Any, rate: float, training: bool) -> Any:
    return tf.nn.dropout(x, rate=rate) if training and rate > 0.0 else x


def _table(config: BertConfig, name: str, rows: int) -> Any:
    return tf.get_variable(name, [rows, config.hidden_size], initializer=_initializer(config))


def _initializer(config: BertConfig) -> Any:
    return tf.truncated_normal_initializer(stddev=config.initializer_range)
