# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Variables that the user sets for the workers: `--env K`, `--env K=V`, `--env_file FILE`."""

import re
from typing import Dict, Mapping, Sequence, Tuple

from epl.errors import ConfigError, quoted

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_variables(files: Sequence[str], words: Sequence[str], environ: Mapping[str, str]
                   ) -> Dict[str, str]:
    """Names and values; a later one counts more, and `words` more than `files`.

    A file has one `K=V` or `K` a line; the value is all that follows the first `=`, quotes
    included. Empty lines and lines that begin with `#` are skipped.

    Args:
      files: paths, of `--env_file`.
      words: `K=V`, or `K` for the launcher's own value, of `--env`.
      environ: the launcher's environment.

    Raises:
      ConfigError: a file cannot be read, a name is none, or a variable is not set here.
    """
    result: Dict[str, str] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError("--env_file '{}' cannot be read ({})".format(
                quoted(path), quoted(str(error)))) from error
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                name, value = _variable(line.lstrip(), "{}:{}".format(path, number), environ)
                result[name] = value
    for word in words:
        name, value = _variable(word, "--env {}".format(quoted(word.partition("=")[0])), environ)
        result[name] = value
    return result


def _variable(word: str, where: str, environ: Mapping[str, str]) -> Tuple[str, str]:
    name, equals, value = word.partition("=")
    if not _NAME.fullmatch(name):
        raise ConfigError("{}: '{}' is no name of a variable; write K=V or K".format(
            where, quoted(name)))
    if "\0" in value:
        raise ConfigError("{}: the value of {} holds a NUL byte, which no variable can; take it "
                          "out".format(where, quoted(name)))
    if equals:
        return name, value
    if name not in environ:
        raise ConfigError("{0}: {1} is not set here; set it, or write {1}=VALUE".format(
            where, quoted(name)))
    return name, environ[name]
