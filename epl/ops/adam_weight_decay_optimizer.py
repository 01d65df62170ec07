# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Adam with decoupled weight decay (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101)."""

import re
from typing import Any, Callable, Dict, List, Optional, Sequence

import tensorflow.compat.v1 as tf


class AdamWeightDecayOptimizer(tf.train.Optimizer):
    r"""Adam, and every step also takes a share of each weight away.

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g^2
        r = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t)          t = 1, 2, ...
        w = w - r (m / (sqrt(v) + epsilon) + weight_decay_rate w)

    Rows of a variable that a sparse gradient doesn't have are treated as rows whose gradient is 0.
    (Loshchilov and Hutter, arXiv:1711.05101.)

    Examples:
      The gradient is 0, so the weight decays alone, by 0.1 sqrt(0.001) / 0.1 x 0.5:

      >>> from epl.ops.adam_weight_decay_optimizer import AdamWeightDecayOptimizer
      >>> epl.init()
      >>> epl.set_default_strategy(epl.replicate(device_count=1))
      >>> weight = tf.get_variable("weight", [], initializer=tf.ones_initializer())
      >>> optimizer = AdamWeightDecayOptimizer(0.1, weight_decay_rate=0.5)
      >>> train = optimizer.minimize(0.0 * weight)
      >>> with tf.Session() as session:
      ...     session.run(tf.global_variables_initializer())
      ...     session.run(train)
      ...     print("%.3f" % session.run(weight))
      0.984
    """

    def __init__(self, learning_rate: Any, weight_decay_rate: float = 0.0, beta_1: float = 0.9,
                 beta_2: float = 0.999, epsilon: float = 1e-6,
                 exclude_from_weight_decay: Optional[Sequence[str]] = None,
                 name: str = "AdamWeightDecayOptimizer"):
        """Choose the constants.

        Args:
          learning_rate: a number or a scalar tensor.
          weight_decay_rate: the share.
          beta_1: how much the mean of gradients keeps of the one before.
          beta_2: the same for the mean of their squares.
          epsilon: added to the square root.
          exclude_from_weight_decay: regular expressions; a variable whose name one of them is found
            in does not decay.
          name: of the variables that it makes.
        """
        super().__init__(False, name)
        self._constants: Dict[str, Any] = {
            "rate": learning_rate, "decay": weight_decay_rate, "beta_1": beta_1, "beta_2": beta_2,
            "epsilon": epsilon}
        self._excluded = [re.compile(each) for each in exclude_from_weight_decay or ()]
        self._tensors: Dict[str, Any] = {}

    def _create_slots(self, var_list: List[Any]) -> None:
        first = min(var_list, key=lambda variable: variable.name)
        for power in ("1", "2"):
            self._create_non_slot_variable(
                initial_value=self._constants["beta_" + power], name="beta{}_power".format(power),
                colocate_with=first)
        for variable in var_list:
            self._zeros_slot(variable, "m", self.get_name())
            self._zeros_slot(variable, "v", self.get_name())

    def _prepare(self) -> None:
        self._tensors = {name: tf.convert_to_tensor(value, name=name)
                         for name, value in self._constants.items()}

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        def added(mean: Any, share: Any, term: Any) -> Any:
            return share * mean + (1 - share) * term

        return self._applied(grad, var, added)

    def _resource_apply_dense(self, grad: Any, handle: Any) -> Any:
        return self._apply_dense(grad, handle)

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return self._resource_apply_sparse(grad.values, var, grad.indices)

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Any:
        """The rows in `indices` are different ones: TensorFlow has added up equal ones."""
        def added(mean: Any, share: Any, term: Any) -> Any:
            return tf.tensor_scatter_add(share * mean, indices[:, tf.newaxis], (1 - share) * term)

        return self._applied(grad, handle, added)

    def _applied(self, grad: Any, var: Any, added: Callable[[Any, Any, Any], Any]) -> Any:
        """The update; `added(mean, share, term)` is the mean with a term for each gradient."""
        with tf.control_dependencies([grad]):
            of = {name: tf.cast(value, var.dtype.base_dtype)
                  for name, value in self._tensors.items()}
            power_1, power_2 = [tf.cast(each, var.dtype.base_dtype) for each in self._powers()]
            rate = of["rate"] * tf.sqrt(1 - power_2) / (1 - power_1)
            m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
            mean, square = added(m, of["beta_1"], grad), added(v, of["beta_2"], tf.square(grad))
            step = mean / (tf.sqrt(square) + of["epsilon"])
            if self._decays(var.name):
                step += of["decay"] * var
            after = var - rate * step
            return tf.group(var.assign(after), m.assign(mean), v.assign(square))

    def _finish(self, update_ops: List[Any], name_scope: str) -> Any:
        with tf.control_dependencies(update_ops):
            further = []
            for name, power in zip(("beta_1", "beta_2"), self._powers()):
                with tf.colocate_with(power):
                    further.append(power.assign(power * self._tensors[name]))
        return tf.group(*(update_ops + further), name=name_scope)

    def _powers(self) -> List[Any]:
        """beta_1^t and beta_2^t."""
        graph = tf.get_default_graph()
        return [self._get_non_slot_variable(name, graph=graph)
                for name in ("beta1_power", "beta2_power")]

    def _decays(self, name: str) -> bool:
        rate = self._constants["decay"]
        return not (isinstance(rate, (int, float)) and rate == 0) and not any(
            each.search(name) for each in self._excluded)
