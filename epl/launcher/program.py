# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every worker runs: a Python script, a shell script, a module or a program."""

import os
import shutil
from typing import List, Optional

from epl.errors import ConfigError
from epl.launcher.options import Options


def check_program(options: Options, search_path: Optional[str]) -> None:
    """Raises ConfigError unless there is something to run.

    Args:
      options: the command line.
      search_path: the `PATH` in which a program without a slash is looked for.
    """
    name = options.script
    if options.module or _is_program_on_path(name, search_path):
        return
    if not os.path.exists(name):
        raise ConfigError("script '{}' does not exist (looked in {}{})".format(
            name, os.getcwd(), "" if _is_script(name) or os.sep in name else " and in PATH"))
    if not os.path.isfile(name):
        raise ConfigError("script '{}' is not a file".format(name))
    if not os.access(name, os.R_OK):
        raise ConfigError("script '{}' cannot be read; check its permissions".format(name))
    if not _is_script(name) and not os.access(name, os.X_OK):
        raise ConfigError("'{}' must end in .sh (run with bash) or .py (run with Python), or be "
                          "executable (chmod +x)".format(name))


def command(options: Options, directory: str, interpreter: str) -> List[str]:
    """Program and arguments of a worker.

    Args:
      options: the command line.
      directory: the worker's output directory, which a `.sh` gets as its first argument.
      interpreter: the Python for scripts and modules.
    """
    arguments = list(options.script_args)
    if options.module:
        return [interpreter, "-m", options.script] + arguments
    # Absolute: bash would also search PATH for a name without a slash, and take a leading dash
    # for an option.
    path = os.path.abspath(options.script)
    if path.endswith(".py"):
        return [interpreter, path] + arguments
    if path.endswith(".sh"):
        return ["bash", path, directory] + arguments
    if os.path.isfile(path):
        return [path] + arguments
    return [options.script] + arguments


def short_name(options: Options) -> str:
    """What stands for the program in the name of a directory."""
    name = os.path.basename(options.script)
    return name if options.module else os.path.splitext(name)[0]


def _is_script(name: str) -> bool:
    return os.path.splitext(name)[1] in (".sh", ".py")


def _is_program_on_path(name: str, search_path: Optional[str]) -> bool:
    if _is_script(name) or os.sep in name or os.path.isfile(name):
        return False
    return shutil.which(name, path=search_path) is not None
