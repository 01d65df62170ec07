# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the files of the example, with errors that name them."""

import hashlib
import json
import os
from typing import Any

from examples.bert.errors import UserError


def read_text(path: str) -> str:
    """The text of a UTF-8 file, as it stands there but for a byte order mark at its beginning.

    Raises:
      UserError: naming the file, if that cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        raise UserError("cannot read '{}': {}".format(path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise UserError("'{}' is not UTF-8 text: {} at byte {}".format(
            path, error.reason, error.start)) from None


def digest(text: str) -> str:
    """A SHA-256 of `text`, in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_json(path: str) -> Any:
    """The value in a JSON file; raises UserError naming the file, line and column of a mistake."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: str) -> Any:
    """The value that the content `text` of the file `path` holds; raises UserError as above."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError("'{}' is not JSON: {}".format(path, error)) from None
    except RecursionError:
        raise UserError("'{}' is not JSON that can be read: it is nested too deeply".format(
            path)) from None


def write_json(path: str, value: Any) -> None:
    """Write `value` as JSON; a reader sees the old file or the whole new one."""
    temporary = path + ".part"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(temporary, path)
