# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""BERT's optimizer: Adam with decoupled weight decay, warm-up, linear decay, clipping.

References: Kingma and Ba 2014 (https://arxiv.org/abs/1412.6980), Loshchilov and Hutter 2017
(https://arxiv.org/abs/1711.05101).
"""

from typing import Any, Sequence

import tensorflow.compat.v1 as tf

_CLIP_NORM = 1.0
_NOT_DECAYED = ("LayerNorm", "bias")


class AdamWeightDecayOptimizer(tf.train.Optimizer):
    """Adam without bias correction, and weight decay that bypasses its moments.

        m <- beta_1 m + (1 - beta_1) g
        v <- beta_2 v + (1 - beta_2) g^2
        w <- w - learning_rate (m / (sqrt(v) + epsilon) + weight_decay_rate w)

    A sparse gradient means the dense gradient with zeros in the other rows: moments of all rows
    decay in every step. The moments are the variables `<w>/adam_m` and `<w>/adam_v`.
    """

    def __init__(self, learning_rate: Any, weight_decay_rate: float = 0.0, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-6,
                 exclude_from_weight_decay: Sequence[str] = (),
                 name: str = "AdamWeightDecayOptimizer"):
        """Make an optimizer.

        Args:
          learning_rate: a number or a scalar float32 tensor.
          weight_decay_rate: fraction of a weight that a step with learning rate 1 takes away.
          beta_1: decay of the first moment, per step.
          beta_2: decay of the second moment, per step.
          epsilon: added to the root of the second moment.
          exclude_from_weight_decay: a variable with one of these texts in its name does not decay.
          name: name scope of the update.
        """
        super().__init__(False, name)
        self._learning_rate = learning_rate
        self._weight_decay_rate = weight_decay_rate
        self._beta_1 = beta_1
        self._beta_2 = beta_2
        self._epsilon = epsilon
        self._exclude = tuple(exclude_from_weight_decay)
        self._rate: Any = None

    def _create_slots(self, var_list: Any) -> None:
        for variable in var_list:
            self._zeros_slot(variable, "m", "adam_m")
            self._zeros_slot(variable, "v", "adam_v")

    def _prepare(self) -> None:
        self._rate = tf.convert_to_tensor(self._learning_rate, tf.float32, name="learning_rate")

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        with tf.control_dependencies(self._decay(var, grad)):
            return tf.raw_ops.ApplyAdam(var=var.op.outputs[0], m=m.op.outputs[0],
                                        v=v.op.outputs[0], grad=grad, **self._constants())

    def _resource_apply_dense(self, grad: Any, var: Any) -> Any:
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        with tf.control_dependencies(self._decay(var, grad)):
            return tf.raw_ops.ResourceApplyAdam(var=var.handle, m=m.handle, v=v.handle, grad=grad,
                                                **self._constants())

    def _apply_sparse_duplicate_indices(self, grad: Any, var: Any) -> Any:
        return self._apply_dense(_dense(grad.values, grad.indices, var), var)

    def _resource_apply_sparse_duplicate_indices(self, grad: Any, handle: Any, indices: Any) -> Any:
        return self._resource_apply_dense(_dense(grad, indices, handle), handle)

    def _decay(self, var: Any, grad: Any) -> Any:
        """The operations, at most one, that take the decay off `var`.

        They wait for the gradient: until it is there, the model may still read the variable.
        """
        if not self._weight_decay_rate or any(text in var.op.name for text in self._exclude):
            return []
        with tf.control_dependencies([grad]):
            return [var.assign_sub(self._rate * self._weight_decay_rate * var, read_value=False)]

    def _constants(self) -> Any:
        # TensorFlow's kernel corrects the bias by the powers of beta; with 0 it corrects nothing.
        return dict(beta1_power=0.0, beta2_power=0.0, lr=self._rate, beta1=self._beta_1,
                    beta2=self._beta_2, epsilon=self._epsilon)


def _dense(values: Any, indices: Any, var: Any) -> Any:
    """The dense gradient, [rows of `var`, ...]; rows given more than once are added up."""
    return tf.unsorted_segment_sum(values, indices, int(var.shape[0]))


def learning_rate_at(step: Any, peak: float, total_steps: int, warmup_steps: int) -> Any:
    """Linear warm-up from 0 to `peak`, then on the line from `peak` at step 0 to 0 at the end.

    Args:
      step: scalar integer tensor, the number of steps done.
      peak: the rate that the line starts from.
      total_steps: the step at which the rate reaches 0.
      warmup_steps: the first step on the line.

    Returns:
      A scalar float32 tensor.
    """
    done = tf.cast(step, tf.float32)
    decayed = peak * tf.maximum(0.0, 1.0 - done / float(total_steps))
    if not warmup_steps:
        return decayed
    return tf.where(done < float(warmup_steps), peak * done / float(warmup_steps), decayed)


def create_train_op(loss: Any, learning_rate: Any) -> Any:
    """One step of BERT's optimizer on all trainable variables.

    Args:
      loss: scalar float32 tensor.
      learning_rate: scalar float32 tensor, in units of the update.

    Returns:
      The operation that runs the step and increments the global step.
    """
    optimizer = AdamWeightDecayOptimizer(learning_rate, weight_decay_rate=0.01,
                                         exclude_from_weight_decay=_NOT_DECAYED)
    pairs = [pair for pair in optimizer.compute_gradients(loss) if pair[0] is not None]
    gradients, variables = zip(*pairs)
    gradients, _ = tf.clip_by_global_norm(gradients, _CLIP_NORM)
    return optimizer.apply_gradients(list(zip(gradients, variables)),
                                     global_step=tf.train.get_or_create_global_step())
