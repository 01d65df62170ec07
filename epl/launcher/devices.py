# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which GPUs each worker gets; without GPUs, virtual CPU devices."""

import shutil
import subprocess
from typing import Mapping, NamedTuple, Optional, Sequence

from epl.errors import ConfigError

_NVIDIA_SMI_TIMEOUT_S = 60


class Gpus(NamedTuple):
    """The GPUs a job may use.

    Attributes:
      names: as `CUDA_VISIBLE_DEVICES` writes them: indices or UUIDs.
      why_none: the reason when `names` is empty, for the user.
    """

    names: Sequence[str]
    why_none: str = ""


class DevicePlan(NamedTuple):
    """What every worker computes on.

    Attributes:
      device_type: "gpu" or "cpu".
      visible: the value of `CUDA_VISIBLE_DEVICES` for each worker.
      note: what to tell the user about it, or None.
    """

    device_type: str
    visible: Sequence[str]
    note: Optional[str] = None


def find_gpus(environ: Mapping[str, str]) -> Gpus:
    """The GPUs of this machine, limited to `CUDA_VISIBLE_DEVICES` where that is set.

    Raises:
      ConfigError: `CUDA_VISIBLE_DEVICES` names a GPU that does not exist, or one twice.
    """
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return Gpus([], "nvidia-smi is not installed")
    try:
        listing = subprocess.run([program, "--query-gpu=index", "--format=csv,noheader"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, timeout=_NVIDIA_SMI_TIMEOUT_S,
                                 check=False)
    except subprocess.TimeoutExpired:
        return Gpus([], "nvidia-smi did not answer in {} s".format(_NVIDIA_SMI_TIMEOUT_S))
    text = listing.stdout.decode("utf-8", "replace").strip()
    if listing.returncode != 0:
        return Gpus([], "nvidia-smi failed: " + " ".join(text.split()))
    present = [line.strip() for line in text.splitlines() if line.strip().isdigit()]
    if not present:
        return Gpus([], "nvidia-smi lists none")
    return _limited(present, environ.get("CUDA_VISIBLE_DEVICES"))


def _limited(present: Sequence[str], visible: Optional[str]) -> Gpus:
    if visible is None:
        return Gpus(present)
    chosen = [name.strip() for name in visible.split(",") if name.strip()]
    if not chosen or chosen[0] == "-1":
        return Gpus([], "CUDA_VISIBLE_DEVICES={!r} hides them".format(visible))
    for name in chosen:
        if name.lstrip("-").isdigit() and name not in present:
            raise ConfigError("CUDA_VISIBLE_DEVICES={} names GPU {}, but nvidia-smi lists {} "
                              "GPU(s): {}".format(visible, name, len(present), ",".join(present)))
    if len(set(chosen)) < len(chosen):
        raise ConfigError("CUDA_VISIBLE_DEVICES={} names a GPU twice; name each once".format(
            visible))
    return Gpus(chosen)


def plan_devices(num_workers: int, gpu_per_worker: int, gpus: Gpus) -> DevicePlan:
    """Deal the GPUs out in blocks, worker by worker.

    Args:
      num_workers: workers on this machine.
      gpu_per_worker: devices of each; 0: the CPU, without a word.
      gpus: what there is.

    Raises:
      ConfigError: there are GPUs, but fewer than asked for.
    """
    if gpu_per_worker == 0:
        return DevicePlan("cpu", [""] * num_workers)
    if not gpus.names:
        note = "no GPU ({}): each worker uses {} virtual CPU device(s)".format(
            gpus.why_none, gpu_per_worker)
        return DevicePlan("cpu", [""] * num_workers, note)
    wanted = num_workers * gpu_per_worker
    if wanted > len(gpus.names):
        raise ConfigError("{} worker(s) x {} GPU(s) = {} GPUs are asked for, {} there: {}; lower "
                          "--num_workers or --gpu_per_worker".format(
                              num_workers, gpu_per_worker, wanted,
                              "1 is" if len(gpus.names) == 1 else
                              "{} are".format(len(gpus.names)), ",".join(gpus.names)))
    starts = range(0, wanted, gpu_per_worker)
    return DevicePlan("gpu", [",".join(gpus.names[s:s + gpu_per_worker]) for s in starts])
