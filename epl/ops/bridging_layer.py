# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Layers between parts of a model that are parallel in different ways.

They belong to tensor parallelism (`epl.split`), which is not available yet: a job of one device has
nothing to bridge, any other is refused.
"""

from typing import Any

from epl.env import Env


class Replica2Split:
    """What all devices need of a replicated part: the rows of all replicas.

    Attributes:
      name: for people.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, tensors: Any) -> Any:
        """`tensors` with the rows of all replicas; None stays None.

        Raises:
          NotImplementedError: there is more than one device.
        """
        env = Env.get()
        env.require_init("epl.ops.bridging_layer.Replica2Split")
        devices = env.context.cluster.total_gpu_num
        if tensors is not None and devices > 1:
            raise NotImplementedError(
                "epl.ops.bridging_layer.Replica2Split('{}') on {} devices is not available yet in "
                "this version of EPL, as epl.split is not; use epl.replicate".format(
                    self.name, devices))
        return tensors


class _Never:
    """A bridge that the original has not built either."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, tensors: Any) -> Any:
        """Raises NotImplementedError."""
        raise NotImplementedError("epl.ops.bridging_layer.{}('{}') is not available; there is "
                                  "nothing to bridge".format(type(self).__name__, self.name))


class Replica2Replica(_Never):
    """Between two replicated parts."""


class Split2Split(_Never):
    """Between two split parts."""
