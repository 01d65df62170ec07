# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The built package: what is in it, what it requires, and that it works without the repository."""

import email
import glob
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement

import epl
from epl import compat

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "epl"]


def run(*command, cwd):
    """Standard output of `command`, which must succeed without this process's Python settings."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(part) for part in command], cwd=str(cwd), env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the package is built from: a build leaves files beside it."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = os.path.join(ROOT, name)
        if os.path.isdir(path):
            shutil.copytree(path, str(copy / name), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, str(copy / name))
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", directory, source, cwd=directory)
    found = glob.glob(str(directory / "*.whl"))
    assert [os.path.basename(path) for path in found] == [
        "epl-{}-py3-none-any.whl".format(epl.__version__)]
    return found[0]


@pytest.fixture(scope="module")
def metadata(wheel):
    name = "epl-{}.dist-info/METADATA".format(epl.__version__)
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_string(archive.read(name).decode("utf-8"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` directory of an environment with EPL alone: no NumPy, no TensorFlow."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=venv.parent)
    run(venv / "bin" / "python", "-m", "pip", "install", "--no-index", "--no-deps", wheel,
        cwd=venv.parent)
    return venv / "bin"


def test_the_wheel_holds_every_module_of_the_package_and_no_other(wheel, source):
    modules = {os.path.relpath(path, str(source))
               for path in glob.glob(str(source / "epl" / "**" / "*.py"), recursive=True)}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert packed == modules | {"epl/py.typed"}  # which says that the modules have types
    assert len(licences) == 1


def test_what_the_package_says_of_itself(metadata):
    assert metadata["Name"] == "epl"
    assert metadata["Version"] == epl.__version__
    assert set(metadata["Requires-Python"].split(",")) == {">=3.7", "<3.14"}
    assert metadata["License"] == "Apache-2.0"


TF1 = {"protobuf<3.21", "numpy<1.19", "h5py<3"}
ONLY_3_7 = "!=1.15+needs.python.3.7,==1.15.*"


@pytest.mark.parametrize("extra, python, expected", [
    ("", "3.7", set()),
    ("tf1", "3.7", {"tensorflow" + ONLY_3_7} | TF1),
    ("gpu", "3.7", {"tensorflow-gpu" + ONLY_3_7} | TF1),
    ("tf1", "3.8", {"tensorflow" + ONLY_3_7}),
    ("gpu", "3.13", {"tensorflow" + ONLY_3_7}),
    ("tf2", "3.7", {"tensorflow<2.16,>=2.10", "numpy<2"}),
    ("tf2", "3.11", {"tensorflow<2.16,>=2.10", "numpy<2"}),
    ("tf2", "3.12", {"tensorflow<2.22,>=2.16"}),
    ("tf2", "3.13", {"tensorflow<2.22,>=2.16"}),
    ("profiler", "3.13", {"matplotlib"}),
    ("dev", "3.7", {"matplotlib", "mypy==1.4.1", "pytest", "pytest-timeout", "pytest-xdist",
                    "ruff"}),
])
def test_what_it_requires(metadata, extra, python, expected):
    found = set()
    for line in metadata.get_all("Requires-Dist"):
        required = Requirement(line)
        if required.marker is None or required.marker.evaluate(
                {"extra": extra, "python_version": python}):
            found.add(required.name + ",".join(sorted(map(str, required.specifier))))
    assert found == {"numpy", "six"} | expected


def test_it_asks_for_no_tensorflow_that_would_be_refused(metadata):
    (_, (_, last_of_1)), ((_, first_of_2), (_, last_of_2)) = compat.SUPPORTED
    text = "".join(metadata.get_all("Requires-Dist")).replace(" ", "")
    for limit in ("==1.{}.*".format(last_of_1), ">=2.{}".format(first_of_2),
                  "<2.{}".format(last_of_2 + 1)):
        assert limit in text


def test_an_older_python_is_refused():
    """Its setuptools reads no pyproject.toml, so that `pip install .` runs setup.py."""
    code = "import sys; sys.version_info = (3, 6, 15); exec(open('setup.py').read())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 1
    assert done.stdout == "EPL needs Python 3.7 to 3.13, and this is Python 3.6\n"


def test_the_launcher_works_from_an_empty_directory(installed, tmp_path):
    assert run(installed / "epl-launch", "--version", cwd=tmp_path).startswith(
        "epl-launch {} (Python ".format(epl.__version__))
    (tmp_path / "hello.sh").write_text('echo "worker $EPL_WORKER_INDEX of $EPL_NUM_WORKERS"\n')
    run(installed / "epl-launch", "--num_workers", "1", "--log_dir", "logs", "hello.sh",
        cwd=tmp_path)
    assert (tmp_path / "logs" / "0" / "stdout.log").read_text() == "worker 0 of 1\n"


def test_the_package_is_imported_without_tensorflow(installed, tmp_path):
    code = "import epl; print(epl.__version__, epl.__file__)"
    version, path = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert version == epl.__version__
    assert path.startswith(str(installed.parent))
