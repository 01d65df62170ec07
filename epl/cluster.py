# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who takes part: the workers, this one's place among them, and their devices.

The information comes from the launcher's environment (`EPL_*`, or Horovod's own variables when
another runner started the workers), else from `TF_CONFIG` or another starter's variables
(`communicators.starters`), else there is one worker.
"""

import collections
import json
import os
import re
from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Union,
)

from epl.communicators import starters
from epl.communicators.horovod import variables
from epl.errors import ConfigError, quoted, shown
from epl.limits import MAX_DEVICES, MAX_WORKERS
from epl.plan.layout import Device, Slices
from epl.plan.teams import Fold
from epl.virtual_devices import VirtualDevice, chosen_slices, device_name, one_slice

_DEVICE_TYPES = ("cpu", "gpu")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LONGEST_HOST = 253  # of DNS
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65535
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")


class ClusterSpec(NamedTuple):
    """What every source of cluster information is brought to.

    Attributes:
      hosts: one entry per worker, `host` or `host:port`, in the order of worker indices.
      worker_index: this worker's place in `hosts`.
      devices_per_worker: accelerators (or virtual CPU devices) of each worker.
      device_type: "gpu", "cpu", or "" when the launcher did not say.
    """

    hosts: Sequence[str]
    worker_index: int
    devices_per_worker: int
    device_type: str


class Cluster:
    """The workers of a job and their devices.

    After `epl.init`, `with epl.Cluster(..., layout=...):` puts another layout in force for the
    graphs that are built from there on; the workers stay those that were started.

    Args:
      worker_hosts: the address of every worker, in a list or with commas between them; None: read
        the environment.
      ps_hosts: parameter servers; EPL has none, so anything but empty is refused.
      job_name: "worker" (the only kind).
      worker_index: this worker's index into `worker_hosts`.
      layout: which TaskGraph runs where: None or "auto" (see `epl.explain`), "all" (one TaskGraph,
        with a replica on each device), {"specific": TaskGraph -> replica -> names of devices}, or
        {"aware_row": N} (each TaskGraph on N workers of one device).

    Attributes:
      slices: TaskGraph -> replica -> devices as the layout says; None: EPL chooses.

    Raises:
      ConfigError: contradicting or impossible information, naming it.

    Examples:
      >>> cluster = epl.Cluster(["alpha:2222", "alpha:2223", "beta:2222"], worker_index=1)
      >>> cluster.worker_num, cluster.local_worker_num, cluster.is_chief
      (3, 2, False)
      >>> cluster.available_devices
      ['/job:worker/replica:0/task:1/device:CPU:0', '/job:worker/replica:0/task:1/device:CPU:1']
    """

    # The layers above put in here what `with` does, and what EPL chose for the default graph.
    entering: ClassVar[Callable[["Cluster"], None]] = lambda cluster: None
    planned: ClassVar[Optional[Callable[["Cluster"], Optional[Slices]]]] = None

    def __init__(self, worker_hosts: Union[None, str, Sequence[str]] = None,
                 ps_hosts: Union[None, str, Sequence[str]] = None, job_name: str = "worker",
                 worker_index: Optional[int] = None, layout: Any = None):
        if ps_hosts:
            raise ConfigError("ps_hosts = {}: EPL uses no parameter servers; list these hosts as "
                              "workers or leave them out".format(shown(ps_hosts)))
        if job_name not in ("worker", ""):
            raise ConfigError("job_name = {}: EPL has workers only".format(shown(job_name)))
        if worker_hosts is None:
            spec = read_environment(os.environ)
        else:
            spec = _from_arguments(worker_hosts, worker_index, os.environ)
        self._spec = _validated(spec)
        self.slices = chosen_slices(layout, self.worker_num, self.gpu_num_per_worker)

    @classmethod
    def described_by(cls, environ: Mapping[str, str]) -> "Cluster":
        """The cluster that these variables describe, instead of the process's environment."""
        made = cls.__new__(cls)
        made._spec = _validated(read_environment(environ))
        made.slices = None
        return made

    def of_teams(self, teams: Fold) -> "Cluster":
        """This cluster with each team of workers as one worker, who has the devices of all."""
        made = type(self).__new__(type(self))
        made._spec = ClusterSpec(
            [self.hosts[teams.members(team)[0]] for team in range(len(teams.seats))],
            teams.team_of(self.worker_index), len(teams.seats[0]), self.device_type)
        made.slices = None
        return made

    def __enter__(self) -> "Cluster":
        Cluster.entering(self)
        return self

    def __exit__(self, *unused: Any) -> None:
        """It stays in force until the next one, or `epl.init`."""

    @property
    def worker_num(self) -> int:
        """Number of workers (processes)."""
        return len(self._spec.hosts)

    @property
    def worker_index(self) -> int:
        """Rank of this worker, 0-based."""
        return self._spec.worker_index

    @property
    def is_chief(self) -> bool:
        """True on worker 0, the only one that writes checkpoints and summaries."""
        return self.worker_index == 0

    @property
    def hosts(self) -> List[str]:
        """Address of every worker, in the order of their indices."""
        return list(self._spec.hosts)

    @property
    def local_worker_num(self) -> int:
        """Workers on this worker's host, itself included."""
        names = [_host_name(host) for host in self._spec.hosts]
        return names.count(names[self.worker_index])

    @property
    def gpu_num_per_worker(self) -> int:
        """Devices of each worker: GPUs, or virtual CPU devices where there are none."""
        return self._spec.devices_per_worker

    @property
    def total_gpu_num(self) -> int:
        """Devices of all workers together."""
        return self.worker_num * self.gpu_num_per_worker

    @property
    def device_type(self) -> str:
        """"gpu", "cpu", or "" when nobody said (TensorFlow's own choice then)."""
        return self._spec.device_type

    @property
    def available_devices(self) -> List[str]:
        """Names of the devices of this worker."""
        return [device_name(Device(self.worker_index, index), self.device_type)
                for index in range(self.gpu_num_per_worker)]

    @property
    def virtual_devices(self) -> List[VirtualDevice]:
        """The devices of each TaskGraph of the default graph, in all replicas of all workers."""
        slices = self.slices
        if slices is None and Cluster.planned is not None:
            slices = Cluster.planned(self)
        if slices is None:
            slices = one_slice(self.worker_num, self.gpu_num_per_worker)
        return [VirtualDevice(number, [[device_name(device, self.device_type) for device in devices]
                                       for devices in replicas], self.worker_index)
                for number, replicas in enumerate(slices)]

    def __repr__(self) -> str:
        return "Cluster(worker {} of {}, {} device(s) each)".format(
            self.worker_index, self.worker_num, self.gpu_num_per_worker)


def _from_arguments(worker_hosts: Any, worker_index: Any,
                    environ: Mapping[str, str]) -> ClusterSpec:
    """The workers that a script names; what devices each has says the launcher."""
    hosts = worker_hosts.split(",") if isinstance(worker_hosts, str) else worker_hosts
    if not isinstance(hosts, (list, tuple)):
        raise ConfigError("worker_hosts = {}: a list of addresses is needed, or a text with commas "
                          "between them".format(shown(hosts)))
    index = 0 if worker_index is None else worker_index
    if type(index) is not int:
        raise ConfigError("worker_index = {}: a whole number is needed".format(shown(index)))
    devices, kind = 1, ""
    if "EPL_NUM_WORKERS" in environ:
        devices = _integer(environ, "EPL_GPU_PER_WORKER", 1)
        kind = environ.get("EPL_DEVICE_TYPE", "")
    return ClusterSpec(list(hosts), index, devices, kind)


def read_environment(environ: Mapping[str, str]) -> ClusterSpec:
    """The cluster that `environ` describes. Raises ConfigError for anything inconsistent."""
    if "EPL_NUM_WORKERS" in environ:
        return _from_launcher(environ)
    if variables.SIZE in environ or variables.RANK in environ:
        return _from_horovod(environ)
    starter = starters.counts(environ)
    if starter == starters.TF_CONFIG:
        spec = _from_tf_config(environ["TF_CONFIG"])
        starters.check_agrees(environ, spec.worker_index, len(spec.hosts))
        return spec
    if starter != starters.NONE:
        said = starters.said_by(environ, starter)
        return ClusterSpec(starters.hosts(environ, said), said.rank, 1, "")
    return ClusterSpec(["localhost"], 0, 1, "")


def _from_launcher(environ: Mapping[str, str]) -> ClusterSpec:
    workers = _workers(environ, "EPL_NUM_WORKERS")
    hosts = [h for h in environ.get("EPL_WORKER_HOSTS", "").split(",") if h]
    hosts = hosts or ["localhost"] * workers
    if len(hosts) != workers:
        raise ConfigError("EPL_WORKER_HOSTS names {} workers, EPL_NUM_WORKERS says {}; start the "
                          "job with epl-launch, which sets both".format(len(hosts), workers))
    return ClusterSpec(hosts, _integer(environ, "EPL_WORKER_INDEX"),
                       _integer(environ, "EPL_GPU_PER_WORKER", 1),
                       environ.get("EPL_DEVICE_TYPE", ""))


def _from_horovod(environ: Mapping[str, str]) -> ClusterSpec:
    """Workers started by another runner of Horovod jobs; it names no hosts, but how many share one.

    Ranks are dealt host by host, as many as one host has at a time.
    """
    size = _workers(environ, variables.SIZE)
    local_size = _integer(environ, variables.LOCAL_SIZE, 1)
    hosts = ["host{}".format(rank // max(local_size, 1)) for rank in range(size)]
    return ClusterSpec(hosts, _integer(environ, variables.RANK), 1, "")


def _from_tf_config(text: str) -> ClusterSpec:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("TF_CONFIG is not valid JSON ({}): {}".format(
            quoted(str(error)), quoted(text))) from None
    if not isinstance(parsed, dict):
        raise ConfigError("TF_CONFIG must be a JSON object, not {}".format(shown(parsed)))
    if "sparseCluster" in parsed:
        raise ConfigError("TF_CONFIG has a 'sparseCluster', of which nobody knows all workers: "
                          "give 'cluster' (Kubeflow's TFJob: enableDynamicWorker: false)")
    cluster, task = _object(parsed, "cluster"), _object(parsed, "task")
    unknown = sorted(set(cluster) - {"chief", "master", "worker"})
    if unknown:
        raise ConfigError("TF_CONFIG has the job(s) {}: EPL knows 'chief' (or 'master') and "
                          "'worker'; make them workers or leave them out".format(shown(unknown)))
    jobs = {kind: _addresses(cluster[kind], kind) for kind in cluster}
    chiefs, workers = jobs.get("chief", []) + jobs.get("master", []), jobs.get("worker", [])
    if len(chiefs) > 1:
        raise ConfigError("TF_CONFIG names {} chiefs: {}; there is one".format(
            len(chiefs), shown(chiefs)))
    if not chiefs and not workers:
        return ClusterSpec(["localhost"], 0, 1, "")
    kind, index = task.get("type", "worker"), task.get("index", 0)
    if not isinstance(kind, str) or kind not in jobs or type(index) is not int:
        raise ConfigError("TF_CONFIG task {} is not in its cluster {}; write "
                          "{{\"type\": \"worker\", \"index\": 0}}".format(
                              shown(task), shown(cluster)))
    if not 0 <= index < len(jobs[kind]):
        raise ConfigError("TF_CONFIG task index {} is out of range: there are {} '{}' task(s)"
                          .format(shown(index), len(jobs[kind]), kind))
    return ClusterSpec(chiefs + workers, index + (len(chiefs) if kind == "worker" else 0), 1, "")


def _object(parsed: Mapping[str, Any], name: str) -> Dict[str, Any]:
    """A part of TF_CONFIG; it may be left out."""
    value = parsed.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError("TF_CONFIG has '{}' = {}: a JSON object is needed".format(
            name, shown(value)))
    return value


def _addresses(value: Any, kind: str) -> List[str]:
    """The addresses of a job of TF_CONFIG."""
    if not isinstance(value, list) or not all(isinstance(address, str) for address in value):
        raise ConfigError("TF_CONFIG has '{}' = {}: a list of addresses is needed, like "
                          "[\"10.0.0.1:2222\"]".format(kind, shown(value)))
    return value


def _check_address(address: Any) -> None:
    """Raises ConfigError unless `address` is `host` or `host:port`."""
    if not isinstance(address, str):
        raise ConfigError("worker address {} is no text; write host:port".format(shown(address)))
    host, colon, port = address.partition(":")
    if not _HOST.fullmatch(host) or len(host) > _LONGEST_HOST:
        raise ConfigError("worker address '{}': '{}' is no host name or IPv4 address".format(
            quoted(address), quoted(host)))
    if colon and not (_PORT.fullmatch(port) and 1 <= int(port) <= _LAST_PORT):
        raise ConfigError("worker address '{}': there is no port '{}'; use 1 to {}".format(
            quoted(address), quoted(port), _LAST_PORT))


def _validated(spec: ClusterSpec) -> ClusterSpec:
    if not spec.hosts:
        raise ConfigError("a cluster needs at least one worker")
    for address in spec.hosts:
        _check_address(address)
    if not 0 <= spec.worker_index < len(spec.hosts):
        raise ConfigError("worker index {} is out of range: there are {} worker(s), indices 0 to {}"
                          .format(shown(spec.worker_index), len(spec.hosts), len(spec.hosts) - 1))
    addresses = [host for host in spec.hosts if ":" in host]
    twice = sorted(a for a, count in collections.Counter(addresses).items() if count > 1)
    if twice:
        raise ConfigError("worker address(es) {} appear more than once; give each worker its own "
                          "port".format(shown(twice)))
    if not 0 <= spec.devices_per_worker <= MAX_DEVICES:
        raise ConfigError("devices per worker = {}: use 0 to {}".format(
            shown(spec.devices_per_worker), MAX_DEVICES))
    if spec.device_type and spec.device_type not in _DEVICE_TYPES:
        raise ConfigError("EPL_DEVICE_TYPE = {}: use one of {}".format(
            shown(spec.device_type), list(_DEVICE_TYPES)))
    # A worker without GPUs still has the CPU.
    return spec._replace(devices_per_worker=max(1, spec.devices_per_worker))


def _integer(environ: Mapping[str, str], name: str, default: Optional[int] = None) -> int:
    text = environ.get(name, "" if default is None else str(default))
    if not _INTEGER.fullmatch(text):
        raise ConfigError("environment variable {} = '{}': a whole number is needed; start the job "
                          "with epl-launch, which sets it".format(name, quoted(text)))
    return int(text)


def _workers(environ: Mapping[str, str], name: str) -> int:
    workers = _integer(environ, name)
    if workers > MAX_WORKERS:
        raise ConfigError("environment variable {} = {}: use {} workers at most".format(
            name, workers, MAX_WORKERS))
    return workers


def _host_name(address: str) -> str:
    return address.rsplit(":", 1)[0]
