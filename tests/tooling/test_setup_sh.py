# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""scripts/setup.sh: what it refuses, which Python it takes, and its life from first run to repair.

Everything happens in a copy of the repository, without network. The copy asks for small packages
of the same names in place of TensorFlow and Horovod, which pip builds and installs as it would
the real ones, in seconds.
"""

import glob
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from tests.tooling.setup_packages import repack, write_empty, write_horovod

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAME = "tf1" if sys.version_info[:2] == (3, 7) else "tf2"
TENSORFLOW = {"tf1": "tensorflow==1.15.5", "tf2": "tensorflow-cpu==2.15.1"}[NAME]
OTHERS = ("tensorflow==1.15.3", "tensorflow==2.16.2", "tensorflow-cpu==2.21.0")
VERSION = "{}.{}".format(*sys.version_info[:2])
TOOLS = ["g++", "cmake", "make"]
_LONG_S = 400  # ends what would never end; an environment takes minutes on a busy machine


def base_python():
    """The interpreter behind this one's virtual environment."""
    if sys.prefix == sys.base_prefix:
        return os.path.realpath(sys.executable)
    return os.path.join(sys.base_prefix, "bin", "python" + VERSION)


class Repository:
    """A copy of the repository in which setup.sh runs, and the environment it runs in."""

    def __init__(self, path, variables):
        self.path = path
        self.venv = path / (".venv-" + NAME)
        self.variables = variables

    def start(self, *arguments, **changes):
        environment = dict(self.variables, **changes)
        return subprocess.Popen(["bash", str(self.path / "scripts" / "setup.sh")] + list(arguments),
                                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, universal_newlines=True, cwd="/")

    def setup(self, *arguments, **changes):
        """(exit code, standard output, standard error) of setup.sh."""
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=_LONG_S)
        return process.returncode, out, err

    def make(self):
        code, out, err = self.setup(NAME)
        assert code == 0, out + err
        return out

    def cached_wheels(self):
        return glob.glob(os.path.join(self.variables["EPL_CACHE_DIR"], "wheels", "*", "*.whl"))


def path_without(directory, *missing, also=()):
    """Fill `directory` with links to all commands of $PATH but `missing` and Pythons; return it.

    `also`: commands of which something must exist; they compile nothing here.
    """
    directory.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            link = directory / name
            unwanted = name in missing or name.startswith(("python", "pyenv", "uv"))
            if not unwanted and not os.path.lexists(str(link)):
                link.symlink_to(os.path.join(folder, name))
    for name in also:
        if name not in missing and not (directory / name).exists():
            (directory / name).write_text("#!/bin/sh\necho version version 3.13\n")
            (directory / name).chmod(0o755)
    return str(directory)


def copy_repository(target):
    target.mkdir()
    for name in ("epl", "scripts"):
        shutil.copytree(os.path.join(ROOT, name), str(target / name),
                        ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(os.path.join(ROOT, name), str(target / name))


def bare_repository(directory):
    copy_repository(directory / "repository")
    return Repository(directory / "repository", {
        "PATH": path_without(directory / "bin", also=TOOLS), "HOME": str(directory / "home"),
        "PYTHON": base_python(), "PIP_NO_INDEX": "1", "EPL_CACHE_DIR": str(directory / "cache")})


def small_repository(directory, links):
    repository = bare_repository(directory)
    packages, repository.mode, pins = links
    repository.mode.write_text("")
    requirements = repository.path / "scripts" / "requirements"
    (requirements / (NAME + ".txt")).write_text("\n".join(pins) + "\n")
    (requirements / "lint.txt").write_text("")
    repository.variables["PIP_FIND_LINKS"] = str(packages)
    return repository


@pytest.fixture
def bare(tmp_path):
    """A copy that asks for what the real one does, on a machine without network or cache."""
    return bare_repository(tmp_path)


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    """The folder that pip finds the small packages in, and the file that steers Horovod's build."""
    directory = tmp_path_factory.mktemp("links")
    mode = directory / "mode"
    mode.write_text("")
    for requirement in (TENSORFLOW,) + OTHERS:
        write_empty(directory, requirement)
    write_horovod(directory, mode)
    pins = [repack("setuptools", directory), repack("wheel", directory), TENSORFLOW]
    return directory, mode, pins


@pytest.fixture
def small(tmp_path, links):
    """A copy that asks for the small packages."""
    return small_repository(tmp_path, links)


@pytest.fixture(scope="module")
def made(tmp_path_factory, links):
    """Such a copy, and the outputs of the two runs, started at once, that made its environment."""
    repository = small_repository(tmp_path_factory.mktemp("made"), links)
    both = [repository.start(NAME), repository.start(NAME)]
    results = [process.communicate(timeout=_LONG_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    return repository, [out for out, _ in results]


@pytest.mark.parametrize("arguments, message", [
    (["tf3"], "'tf3' is no environment; use tf1 or tf2"),
    (["tf1", "tf2"], "one argument, tf1 or tf2, but got 2: tf1 tf2"),
])
def test_wrong_arguments(bare, arguments, message):
    code, out, err = bare.setup(*arguments)
    assert (code, out, err) == (2, "", "setup.sh: error: {}\n".format(message))


@pytest.mark.parametrize("tensorflow, arguments, message", [
    ("tensorflow==2.9.3", [], "is no TensorFlow that packages are known for; write "
     "tensorflow==<version> with one of 1.15.5 2.10.1 2.11.1 2.12.1 2.13.1 2.14.1 2.15.1 2.16.2 "
     "2.17.1 2.18.1 2.19.1 2.20.0 2.21.0 or another 1.15"),
    ("tensorflow>=2.15", [], "is no TensorFlow that packages are known for"),
    ("torch==2.16.2", [], "is no TensorFlow that packages are known for"),
    ("tensorflow==2.16.2", ["tf1"], "is no TensorFlow for tf1; leave the argument out"),
    ("tensorflow==1.15.0", ["tf2"], "is no TensorFlow for tf2; leave the argument out"),
])
def test_another_tensorflow_has_packages_or_is_refused(bare, tensorflow, arguments, message):
    code, out, err = bare.setup(*arguments, EPL_TENSORFLOW=tensorflow)
    assert code == (2 if "no environment" in err else 1) and tensorflow in err
    assert message in err
    assert not list(bare.path.glob(".venv*"))


@pytest.mark.parametrize("tensorflow, horovod", [
    ("tensorflow==2.16.2", True), ("tensorflow-cpu==2.21.0", False)] + [
    ("tensorflow==1.15.3", True)] * (NAME == "tf1"))
def test_another_tensorflow_gets_its_own_packages(small, links, tensorflow, horovod):
    """From 2.17 on without Horovod, and without the tools to compile it."""
    name, version = "tf" + tensorflow.split("==")[1][0], tensorflow.split("==")[1]
    requirements = small.path / "scripts" / "requirements"
    if name == "tf2":
        (requirements / "tf-{}.txt".format(version)).write_text(
            "# Python {}, made by a test\n{}\n".format(VERSION, "\n".join(
                links[2][:-1] + ["tensorflow-cpu==" + version])))
    tools = {} if horovod else {
        "PATH": path_without(small.path.parent / "less", "g++", "cmake", "make")}
    code, out, err = small.setup(EPL_TENSORFLOW=tensorflow, **tools)
    assert code == 0, out + err
    assert ".venv-{} is ready".format(name) in out and tensorflow in out
    assert ("horovod==0.28.1" in out) == horovod
    assert ("Horovod not asked for, or not built for it" in out) != horovod
    listed = subprocess.check_output(
        [str(small.path / (".venv-" + name) / "bin" / "python"), "-m", "pip", "list", "--format",
         "freeze", "--no-index"], universal_newlines=True).replace("_", "-")
    assert tensorflow in listed.splitlines() and ("horovod==" in listed) == horovod


@pytest.mark.parametrize("tool, package", [
    ("g++", "apt-get install g++"), ("cmake", "apt-get install cmake"),
    ("make", "apt-get install make"),
])
def test_a_missing_tool_is_reported_before_anything_is_made(bare, tmp_path, tool, package):
    code, out, err = bare.setup(NAME, PATH=path_without(tmp_path / "less", tool, also=TOOLS))
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0].startswith("setup.sh: error: {} needs".format(NAME))
    assert len(lines) == 2 and package in lines[1]
    assert not bare.venv.exists()


def test_a_cmake_too_old_for_horovod_is_missing_too(bare, tmp_path):
    path = path_without(tmp_path / "less", "cmake", also=TOOLS)
    old = os.path.join(path, "cmake")
    with open(old, "w") as file:
        file.write("#!/bin/sh\necho cmake version 3.10.2\n")
    os.chmod(old, 0o755)
    code, _, err = bare.setup(NAME, PATH=path)
    assert code == 1
    assert "cmake 3.13 or later, this one is 3.10.2 (pip install cmake)" in err
    assert not bare.venv.exists()


@pytest.mark.parametrize("name, version, cures", [
    ("tf1", "Python 3.7", ["pyenv install 3.7.16", "uv python install 3.7"]),
    ("tf2", "Python 3.11 or 3.10 or 3.9", ["pyenv install 3.11", "uv python install 3.11"]),
])
def test_a_missing_python_is_reported_with_the_tools_that_miss(bare, tmp_path, name, version,
                                                               cures):
    few = path_without(tmp_path / "less", "cmake", also=TOOLS)
    code, out, err = bare.setup(name, PATH=few, PYTHON="")
    assert (code, out) == (1, "")
    assert version in err and "apt-get install cmake" in err
    assert all(cure in err for cure in cures)
    assert not list(bare.path.glob(".venv*"))


def find_python(repository, name, **changes):
    """What `find_python` of the scripts prints."""
    code = "source '{}/scripts/lib/python.sh'; find_python {}".format(repository.path, name)
    done = subprocess.run(["bash", "-c", code], env=dict(repository.variables, **changes),
                          stdout=subprocess.PIPE, universal_newlines=True)
    return done.stdout.strip()


def test_an_environments_python_stands_for_the_one_that_it_was_made_of(bare):
    expected = "{} {}".format(sys.version.split()[0], base_python())
    assert find_python(bare, NAME, PYTHON=sys.executable) == expected


def test_a_python_that_does_not_run_is_passed_over(bare):
    shim = os.path.join(bare.variables["PATH"], "python" + VERSION)
    with open(shim, "w") as file:
        file.write("#!/bin/sh\necho 'python: command not found' >&2\nexit 127\n")
    os.chmod(shim, 0o755)
    installed = os.path.join(bare.variables["HOME"], ".pyenv", "versions", VERSION + ".1", "bin")
    os.makedirs(installed)
    os.symlink(base_python(), os.path.join(installed, "python" + VERSION))
    assert find_python(bare, NAME, PYTHON="").endswith(os.path.realpath(base_python()))


def test_a_python_of_another_version_is_not_taken(bare):
    other = "tf2" if NAME == "tf1" else "tf1"
    assert find_python(bare, other) == ""


def test_of_two_at_once_one_makes_the_environment(made):
    repository, outputs = made
    assert sum("making .venv-" in out for out in outputs) == 1, outputs
    assert sum("waiting for another setup" in out for out in outputs) == 1, outputs
    assert all(".venv-{} is ready".format(NAME) in out for out in outputs)

    assert (repository.path / ".venv").resolve() == repository.venv.resolve()
    code = "import epl, horovod; print(epl.__file__, horovod.__file__)"
    paths = subprocess.check_output([str(repository.venv / "bin" / "python"), "-c", code], cwd="/",
                                    env=repository.variables, universal_newlines=True).split()
    assert paths[0] == str(repository.path / "epl" / "__init__.py")
    assert paths[1].startswith(str(repository.venv))


def test_a_repeated_run_does_nothing(made):
    repository, _ = made
    states = [repository.venv / ".{}-state".format(part) for part in
              ("packages", "horovod", "epl")]
    before = [state.stat().st_mtime_ns for state in states]
    out = repository.make()
    assert out.count("\n") == 1 and ".venv-{} is ready".format(NAME) in out
    assert [state.stat().st_mtime_ns for state in states] == before


def test_a_copy_elsewhere_is_made_anew_with_the_kept_wheel(made, tmp_path):
    repository, _ = made
    wheel, = repository.cached_wheels()
    built = os.stat(wheel).st_mtime_ns
    shutil.copytree(str(repository.path), str(tmp_path / "copy"), symlinks=True)
    copy = Repository(tmp_path / "copy", repository.variables)
    assert "making .venv-" in copy.make()
    assert os.stat(wheel).st_mtime_ns == built
    launcher = (copy.venv / "bin" / "epl-launch").read_text().splitlines()[0]
    assert launcher.startswith("#!{}/".format(copy.venv))


def test_a_failing_step_shows_its_error_and_a_damaged_wheel_is_built_again(small):
    small.mode.write_text("fail")
    code, out, err = small.setup(NAME)
    assert code == 1
    assert "RuntimeError: no room for this build" in err
    assert not (small.venv / ".horovod-state").exists() and not small.cached_wheels()

    kept, = glob.glob(os.path.join(small.variables["EPL_CACHE_DIR"], "wheels", "*"))
    with open(os.path.join(kept, "horovod-0.28.1-py3-none-any.whl"), "wb") as file:
        file.write(b"half a wheel")
    small.mode.write_text("")
    small.make()
    wheel, = small.cached_wheels()
    assert zipfile.is_zipfile(wheel)


def test_horovod_may_be_left_out_and_added_later(small):
    """Without it no tool to compile it is needed; what is there stays when it is added."""
    few = path_without(small.path.parent / "less", "g++", "cmake", "make")
    code, out, err = small.setup(NAME, HOROVOD="0", PATH=few)
    assert code == 0, out + err
    assert "Horovod not asked for" in out and not small.cached_wheels()
    packages = (small.venv / ".packages-state").stat().st_mtime_ns
    code, _, err = small.setup(NAME, PATH=few)
    assert code == 1 and "apt-get install cmake" in err
    assert "horovod==0.28.1" in small.make() and len(small.cached_wheels()) == 1
    assert (small.venv / ".packages-state").stat().st_mtime_ns == packages
    code, out, _ = small.setup(NAME, HOROVOD="0", PATH=few)
    assert code == 0 and out.count("\n") == 1
    assert (small.venv / ".horovod-state").exists()


def test_horovod_is_wanted_or_not(bare):
    code, out, err = bare.setup(NAME, HOROVOD="no")
    assert (code, out) == (2, "")
    assert err == "setup.sh: error: HOROVOD='no' is neither 0 (without it) nor 1\n"


def test_an_interrupted_build_ends_at_once_and_the_next_run_makes_it_whole(small):
    small.mode.write_text("sleep")
    pid_file = str(small.mode) + ".pid"
    process = small.start(NAME)
    deadline = time.monotonic() + _LONG_S
    while not (os.path.exists(pid_file) and open(pid_file).read()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)  # the build would sleep for two minutes
    assert process.returncode == 143 and out.endswith("interrupted\n")
    builder = int(open(pid_file).read())
    while os.path.exists("/proc/{}".format(builder)):
        assert time.monotonic() < deadline, "the build goes on"
        time.sleep(0.05)
    assert not small.cached_wheels()

    small.mode.write_text("")
    assert "horovod==0.28.1, compile" in small.make()
    assert len(small.cached_wheels()) == 1
