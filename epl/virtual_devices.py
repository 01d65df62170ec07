# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The devices of each TaskGraph, replica by replica, and how a script may choose them.

    epl.Cluster(layout={"specific": [[["/job:worker/task:0/device:GPU:0"],      stage 0, replica 0
                                      ["/job:worker/task:0/device:GPU:1"]],     stage 0, replica 1
                                     [["/job:worker/task:0/device:GPU:2"],      stage 1, replica 0
                                      ["/job:worker/task:0/device:GPU:3"]]]})   stage 1, replica 1
"""

import re
from typing import Any, List, Optional, Sequence, Tuple

from epl.errors import ConfigError, nearest, shown
from epl.plan.layout import Device, Slices

_NAMES = ("all", "auto", "aware_row", "specific")
_DEVICE = re.compile(r"/job:worker(?:/replica:0)?/task:(\d{1,6})/device:(CPU|GPU):(\d{1,6})",
                     re.IGNORECASE)


class VirtualDevice:
    """The devices that one TaskGraph runs on, in all replicas of all workers.

    Attributes:
      index: position of the TaskGraph.
      slice_devices: replica -> its devices, by their TensorFlow names.
      worker_index: whose devices are local.
    """

    def __init__(self, index: int, slice_devices: Sequence[Sequence[str]], worker_index: int):
        self.index = index
        self.slice_devices = [list(devices) for devices in slice_devices]
        self.worker_index = worker_index

    @property
    def all_devices(self) -> Tuple[str, ...]:
        """Those of all replicas, one after the other."""
        return tuple(device for devices in self.slice_devices for device in devices)

    @property
    def local_devices(self) -> Tuple[str, ...]:
        """Those of this worker."""
        own = "/task:{}/".format(self.worker_index)
        return tuple(device for device in self.all_devices if own in device)

    @property
    def num_replicas(self) -> int:
        """Copies of the TaskGraph in the job."""
        return len(self.slice_devices)

    def get_device(self, replica_idx: int, device_idx: int) -> str:
        """One device of one replica. Raises IndexError."""
        return self.slice_devices[replica_idx][device_idx]

    def __repr__(self) -> str:
        return repr(self.slice_devices)


def device_name(device: Device, device_type: str) -> str:
    """The TensorFlow name of a device of the job."""
    return "/job:worker/replica:0/task:{}/device:{}:{}".format(
        device.worker, "CPU" if device_type == "cpu" else "GPU", device.index)


def chosen_slices(layout: Any, num_workers: int, devices_per_worker: int) -> Optional[Slices]:
    """TaskGraph -> replica -> devices, as `layout` says; None: EPL chooses.

    Args:
      layout: None, "auto", "all", {"specific": names of devices} or {"aware_row": workers}.
      num_workers: processes in the job.
      devices_per_worker: devices of each.

    Raises:
      ConfigError: there is no such layout; a device that does not exist, is named twice, or is
        left out.
    """
    kind, value = _taken_apart(layout)
    if kind == "all":
        return one_slice(num_workers, devices_per_worker)
    if kind == "specific":
        return _specific(value, num_workers, devices_per_worker)
    if kind == "aware_row":
        return _rows(value, num_workers, devices_per_worker)
    return None


def one_slice(num_workers: int, devices_per_worker: int) -> Slices:
    """One TaskGraph on all devices, with a replica on each."""
    return (tuple((Device(worker, index),) for worker in range(num_workers)
                  for index in range(devices_per_worker)),)


def _taken_apart(layout: Any) -> Tuple[str, Any]:
    """(name, value) of a layout."""
    if layout is None:
        return "auto", None
    given = {layout: None} if isinstance(layout, str) else layout
    if not isinstance(given, dict) or len(given) != 1 or not set(given) <= set(_NAMES):
        raise ConfigError("layout = {}: use None, 'all', 'auto', {{'specific': [...]}} or "
                          "{{'aware_row': N}}; {}".format(shown(layout), nearest(
                              str(layout), _NAMES)))
    kind, value = next(iter(given.items()))
    if value is None and kind in ("specific", "aware_row"):
        raise ConfigError("layout = {}: write {{'{}': ...}}, with what it is to be".format(
            shown(layout), kind))
    return kind, value


def _rows(workers: Any, num_workers: int, devices_per_worker: int) -> Slices:
    """Every TaskGraph on so many workers of one device each, one behind the other."""
    if type(workers) is not int or workers < 1:
        raise ConfigError("layout = {{'aware_row': {}}}: a number of workers, 1 or more, is "
                          "needed".format(shown(workers)))
    if devices_per_worker != 1 or num_workers % workers:
        raise ConfigError(
            "layout = {{'aware_row': {}}} deals {} worker(s) x {} device(s): use workers of one "
            "device each (epl-launch --gpu_per_worker 1), and a divisor of their number".format(
                workers, num_workers, devices_per_worker))
    return tuple(tuple((Device(worker, 0),) for worker in range(first, first + workers))
                 for first in range(0, num_workers, workers))


def _specific(value: Any, num_workers: int, devices_per_worker: int) -> Slices:
    try:
        slices = tuple(tuple(tuple(_device(name) for name in _listed(devices))
                             for devices in _listed(replicas)) for replicas in _listed(value))
    except TypeError as error:
        raise ConfigError("layout = {{'specific': {}}}: {}; write a list of TaskGraphs, each a "
                          "list of replicas, each a list of device names".format(
                              shown(value), error)) from None
    named = [device for replicas in slices for devices in replicas for device in devices]
    there = [Device(w, i) for w in range(num_workers) for i in range(devices_per_worker)]
    for what, wrong in (("which do not exist", sorted(set(named) - set(there))),
                        ("more than once", sorted({d for d in named if named.count(d) > 1}))):
        if wrong:
            raise ConfigError(
                "layout 'specific' names {} (task:device) {}; there are {} worker(s) x {} "
                "device(s), name each once".format(
                    _shown(wrong), what, num_workers, devices_per_worker))
    left = sorted(set(there) - set(named))
    if left:
        raise ConfigError("layout 'specific' leaves out {} (task:device) of {} worker(s) x {} "
                          "device(s): name them, or start fewer with epl-launch".format(
                              _shown(left), num_workers, devices_per_worker))
    return slices


def _listed(value: Any) -> List[Any]:
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError("{} is no list of anything".format(shown(value)))
    return list(value)


def _device(name: Any) -> Device:
    match = _DEVICE.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ConfigError("layout 'specific': {} is no device; write "
                          "\"/job:worker/replica:0/task:0/device:GPU:0\"".format(shown(name)))
    return Device(int(match.group(1)), int(match.group(3)))


def _shown(devices: Sequence[Device]) -> str:
    return ", ".join("{}:{}".format(*device) for device in devices[:8])
