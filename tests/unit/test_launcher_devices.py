# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which GPUs each worker gets. `nvidia-smi` is a stand-in: the test machines have no GPU."""

import pytest

from epl.errors import ConfigError
from epl.launcher.devices import DevicePlan, Gpus, find_gpus, plan_devices
from epl.launcher.provider import join_devices


@pytest.fixture
def nvidia_smi(tmp_path):
    def install(body):
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + body)
        program.chmod(0o755)
        return {"PATH": str(tmp_path)}
    return install


@pytest.mark.parametrize("num_workers, gpu_per_worker, visible", [
    (1, 1, ["0"]),
    (2, 1, ["0", "1"]),
    (2, 2, ["0,1", "2,3"]),
    (1, 4, ["0,1,2,3"]),
])
def test_blocks(num_workers, gpu_per_worker, visible):
    plan = plan_devices(num_workers, gpu_per_worker, Gpus(["0", "1", "2", "3"]))
    assert plan.device_type == "gpu"
    assert list(plan.visible) == visible
    assert plan.note is None


def test_too_few_gpus_is_an_error_with_both_numbers():
    message = r"3 worker\(s\) x 2 GPU\(s\) = 6 GPUs are asked for, 4 are there: 0,1,2,3"
    with pytest.raises(ConfigError, match=message):
        plan_devices(3, 2, Gpus(["0", "1", "2", "3"]))


def test_without_gpus_virtual_cpu_devices_and_the_reason():
    plan = plan_devices(2, 3, Gpus([], "because"))
    assert plan.device_type == "cpu"
    assert list(plan.visible) == ["", ""]
    assert plan.note == "no GPU (because): each worker uses 3 virtual CPU device(s)"


@pytest.mark.parametrize("gpus", [Gpus([], "because"), Gpus(["0", "1"])])
def test_no_device_is_the_cpu_without_a_word(gpus):
    assert plan_devices(2, 0, gpus) == DevicePlan("cpu", ["", ""], None)


def test_every_host_has_its_own():
    joined = join_devices(["a", "a", "b"], {"a": DevicePlan("gpu", ["0,1", "2,3"]),
                                            "b": DevicePlan("gpu", ["4,5"])})
    assert joined == DevicePlan("gpu", ["0,1", "2,3", "4,5"], None)
    notes = {name: DevicePlan("cpu", [""], note) for name, note in (
        ("a", "none here"), ("b", "none here"), ("c", "hidden"))}
    assert join_devices(["a", "b", "c"], notes).note == "none here; hidden"


def test_no_nvidia_smi(tmp_path):
    assert find_gpus({"PATH": str(tmp_path)}) == Gpus([], "nvidia-smi is not installed")


def test_a_broken_driver_is_named(nvidia_smi):
    gpus = find_gpus(nvidia_smi("echo 'couldn not reach the driver'; exit 9\n"))
    assert not gpus.names
    assert gpus.why_none == "nvidia-smi failed: couldn not reach the driver"


def test_a_driver_without_gpus(nvidia_smi):
    gpus = find_gpus(nvidia_smi("echo 'No devices were found'\n"))
    assert gpus == Gpus([], "nvidia-smi lists none")


@pytest.mark.parametrize("visible, names", [
    (None, ["0", "1", "2", "3"]),
    ("2,3", ["2", "3"]),
    ("3, 0", ["3", "0"]),
    ("GPU-5ca1ab1e,GPU-0ddba11", ["GPU-5ca1ab1e", "GPU-0ddba11"]),
    ("", []),
    ("-1", []),
])
def test_cuda_visible_devices_is_the_pool(nvidia_smi, visible, names):
    environ = nvidia_smi("printf '0\\n1\\n2\\n3\\n'\n")
    if visible is not None:
        environ["CUDA_VISIBLE_DEVICES"] = visible
    gpus = find_gpus(environ)
    assert list(gpus.names) == names
    assert bool(gpus.why_none) == (not names)


def test_a_gpu_that_does_not_exist_is_refused(nvidia_smi):
    environ = dict(nvidia_smi("printf '0\\n1\\n'\n"), CUDA_VISIBLE_DEVICES="0,5")
    with pytest.raises(ConfigError, match="names GPU 5, but nvidia-smi lists 2"):
        find_gpus(environ)


def test_a_gpu_that_is_named_twice_is_not_two(nvidia_smi):
    environ = dict(nvidia_smi("printf '0\\n1\\n'\n"), CUDA_VISIBLE_DEVICES="1, 1")
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES=1, 1 names a GPU twice"):
        find_gpus(environ)
