# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What docs/getting_started.md says of an environment of one's own is run, command by command.

Without network: small packages stand for TensorFlow, NumPy and Horovod (`setup_packages`).
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.jobs import ROOT
from tests.tooling.setup_packages import repack, write_empty, write_horovod
from tests.tooling.test_setup_sh import copy_repository

TENSORFLOW = "2.21.0" if sys.version_info >= (3, 12) else "2.15.1"
TRAINS = "epl-launch --num_workers 2 examples/small/mlp.py"


def commands():
    """The lines of code of an environment of one's own, without the one that trains."""
    with open(os.path.join(ROOT, "docs", "getting_started.md"), encoding="utf-8") as file:
        page = file.read()
    found = []
    for heading in ("In an environment of your own", "Horovod"):
        section = re.split("\n###? ", page.split("### {}\n".format(heading))[1])[0]
        found += [line.strip() for line in section.splitlines() if line.startswith("    ")]
    found.remove(TRAINS)
    return found


@pytest.fixture
def links(tmp_path):
    directory = tmp_path / "links"
    directory.mkdir()
    (directory / "mode").write_text("")
    for name, version in (("tensorflow", TENSORFLOW), ("tensorflow", "1.15.5"),
                          ("numpy", "1.18.5"), ("six", "1.17.0"), ("protobuf", "3.20.3"),
                          ("h5py", "2.10.0")):
        write_empty(directory, "{}=={}".format(name, version), module=name)
    write_horovod(directory, directory / "mode")
    for package in ("setuptools", "wheel"):
        repack(package, directory)
    return directory


def run(script, directory, links, code=0):
    """What commands print in a fresh environment, in a copy of the repository."""
    copy_repository(directory / "repository")
    subprocess.check_call([sys.executable, "-m", "venv", str(directory / "venv")])
    environment = {
        "PATH": "{}:{}".format(directory / "venv" / "bin", os.environ["PATH"]),
        "HOME": str(directory), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links),
        "VIRTUAL_ENV": str(directory / "venv"), "UV_OFFLINE": "1", "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(links), "UV_PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=str(directory / "repository"), env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == code, done.stdout
    return done.stdout


def test_the_commands_make_an_environment_with_horovod(tmp_path, links):
    out = run("\n".join(commands() + ["epl-launch --version", "pip list --format freeze"]),
              tmp_path, links)
    assert "epl-launch 0." in out
    for installed in ("tensorflow==" + TENSORFLOW, "numpy==1.18.5", "horovod==0.28.1"):
        assert installed in out.splitlines()


def test_the_options_of_horovods_build_are_those_of_the_scripts(tmp_path, links):
    run("\n".join(commands()), tmp_path, links)
    built = set((links / "mode.environment").read_text().splitlines())
    code = "source scripts/lib/horovod.sh; export_horovod_options; env"
    scripts = subprocess.check_output(["bash", "-c", code], cwd=ROOT, universal_newlines=True,
                                      env={"PATH": os.environ["PATH"]}).splitlines()
    options = {line for line in scripts if line.startswith(("HOROVOD_", "CMAKE_"))}
    assert len(options) > 5 and options <= built


@pytest.mark.skipif(sys.version_info[:2] != (3, 7), reason="TensorFlow 1.15 is for Python 3.7")
def test_the_extra_for_tensorflow_1(tmp_path, links):
    out = run("python -m pip install '.[tf1]'; pip list --format freeze", tmp_path, links)
    assert {"tensorflow==1.15.5", "protobuf==3.20.3", "h5py==2.10.0"} <= set(out.splitlines())


@pytest.mark.parametrize("extra", ["tf1", "gpu"])
def test_pip_names_the_python_that_tensorflow_1_needs(tmp_path, links, extra):
    """As where there is no TensorFlow 1.15 for this Python."""
    os.unlink(str(links / "tensorflow-1.15.5-py3-none-any.whl"))
    out = run("python -m pip install '.[{}]'".format(extra), tmp_path, links, code=1)
    assert "tensorflow" in out.splitlines()[-1] and "needs.python.3.7" in out.splitlines()[-1]


def test_what_stands_for_tensorflow_1_elsewhere_says_which_python_it_needs(tmp_path, links):
    """uv takes it where pip finds no TensorFlow 1.15."""
    out = run("python -m pip install --no-deps scripts/requirements/needs_python37", tmp_path,
              links, code=1)
    assert "TensorFlow 1.15 needs Python 3.7, and this is Python {}.{};".format(
        *sys.version_info[:2]) in out


@pytest.fixture
def universal(links):
    """Packages for uv, which looks for those of all extras and all Pythons at once."""
    for requirement in ("numpy==2.1.0", "tensorflow==2.10.1", "tensorflow_gpu==1.15.5",
                        "tensorflow==2.21.0", "matplotlib==3.5.0", "mypy==1.4.1", "pytest==7.4.0",
                        "pytest_timeout==2.1.0", "pytest_xdist==3.5.0", "ruff==0.5.0"):
        write_empty(links, requirement, module=requirement.split("==")[0])
    return links


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, which is not installed here")
def test_uv_makes_the_environments(tmp_path, universal):
    commands = ["uv tool run --from . epl-launch --version",
                "uv sync --extra tf2", "uv run --no-sync epl-launch --version",
                "uv pip install --python .venv '.[tf2]'", "uv pip list --python .venv"]
    out = run("\n".join(commands), tmp_path, universal)
    assert out.count("epl-launch 0.") == 2 and "tensorflow" in out


@pytest.mark.skipif(shutil.which("uv") is None or sys.version_info < (3, 8),
                    reason="needs uv, and a Python without TensorFlow 1.15")
@pytest.mark.parametrize("command", ["uv sync --extra tf1", "uv sync --extra gpu",
                                     "uv pip install '.[tf1]'"])
def test_uv_names_the_python_that_tensorflow_1_needs(tmp_path, universal, command):
    assert "TensorFlow 1.15 needs Python 3.7" in run(command, tmp_path, universal, code=1)
