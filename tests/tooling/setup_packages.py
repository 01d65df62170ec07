# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Small packages named like TensorFlow and Horovod: setup.sh runs with them without network."""

import glob
import io
import os
import tarfile
import zipfile

# What the small Horovod's build does is told by a file: "sleep", "fail", or nothing special.
HOROVOD_SETUP = """
import os, time
from setuptools import setup
mode = open({mode!r}).read()
with open({mode!r} + ".environment", "w") as file:
    file.write("\\n".join("=".join(item) for item in sorted(os.environ.items())))
if mode == "fail":
    raise RuntimeError("no room for this build")
if mode == "sleep":
    open({mode!r} + ".pid", "w").write(str(os.getpid()))
    time.sleep(120)
setup(name="horovod", version="0.28.1", packages=["horovod", "horovod.tensorflow"])
"""


def repack(package, directory):
    """Write a wheel of an installed package into `directory`; returns its requirement."""
    site = os.path.dirname(os.path.dirname(__import__(package).__file__))
    info, = glob.glob(os.path.join(site, package + "-*.dist-info"))
    identity = os.path.basename(info)[:-len(".dist-info")]
    target = str(directory / (identity + "-py3-none-any.whl"))
    with open(os.path.join(info, "RECORD")) as record, zipfile.ZipFile(target, "w") as archive:
        for name in (line.split(",")[0] for line in record):
            if not name.startswith("..") and not name.endswith(".pyc"):
                archive.write(os.path.join(site, name), name)
    return "==".join(identity.rsplit("-", 1))


def write_empty(directory, requirement, module="tensorflow"):
    """Write an empty package that fulfils `requirement`, such as tensorflow==1.15.5."""
    name, version = requirement.replace("-", "_").split("==")
    info = "{}-{}.dist-info/".format(name, version)
    with zipfile.ZipFile(str(directory / "{}-{}-py3-none-any.whl".format(name, version)),
                         "w") as archive:
        archive.writestr(module + "/__init__.py", "")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: {}\nVersion: {}\n".format(
            name, version))
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                         "Tag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")


def write_horovod(directory, mode):
    """Write the source of a Horovod whose build does what the file `mode` says."""
    files = {"setup.py": HOROVOD_SETUP.format(mode=str(mode)), "horovod/__init__.py": "",
             "horovod/tensorflow/__init__.py": "def gloo_built():\n    return True\n"}
    with tarfile.open(str(directory / "horovod-0.28.1.tar.gz"), "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo("horovod-0.28.1/" + name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
