# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Packaging of EPL. Imports no TensorFlow: it runs where none is installed yet."""

import os
import re

from setuptools import find_packages, setup

_ROOT = os.path.dirname(os.path.abspath(__file__))


def _read(*path):
    with open(os.path.join(_ROOT, *path), encoding="utf-8") as file:
        return file.read()


def _version():
    """`__version__` of epl/version.py, read without importing the package."""
    match = re.search(r'^__version__ = "([^"]+)"$', _read("epl", "version.py"), re.MULTILINE)
    if match is None:
        raise RuntimeError('epl/version.py has no line of the form __version__ = "1.2.3"')
    return match.group(1)


# TensorFlow 1.15 does not exclude later releases that break it: its generated protobuf code needs
# protobuf < 3.21, and its Python code NumPy < 1.19.
_TF1_PINS = ["protobuf<3.21", "numpy<1.19", "h5py<3"]

setup(
    name="epl",
    version=_version(),
    description="Makes single-device TensorFlow 1.x training scripts data and pipeline parallel",
    long_description=_read("README.md"),
    long_description_content_type="text/markdown",
    author="The EPL Authors",
    license="Apache-2.0",
    packages=find_packages(include=["epl", "epl.*"]),
    package_data={"epl": ["py.typed"]},
    python_requires=">=3.7,<3.12",
    install_requires=["numpy", "six"],
    extras_require={
        "tf1": ["tensorflow==1.15.*"] + _TF1_PINS,
        "gpu": ["tensorflow-gpu==1.15.*"] + _TF1_PINS,
        "tf2": ["tensorflow>=2.10,<2.16"],
        "horovod": ["horovod==0.28.1", "cloudpickle", "packaging", "psutil", "pyyaml"],
        "profiler": ["matplotlib"],
        "dev": ["matplotlib", "mypy==1.4.1", "pytest", "pytest-timeout", "pytest-xdist",
                "ruff"],
    },
    entry_points={"console_scripts": ["epl-launch = epl.launcher.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.7",
        "Programming Language :: Python :: 3.8",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: System :: Distributed Computing",
    ],
    keywords="tensorflow distributed data-parallel pipeline-parallel training horovod",
)
