#!/usr/bin/env python3
# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the table of the original's public names into docs/compatibility.md.

Usage: scripts/compatibility_table.py

The names are in docs/compatibility.json: for each its state, what differs, what using it raises,
and a line of Python that tries it, which tests/graph/test_compatibility.py runs.
"""

import io
import json
import os

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")
NAMES, PAGE = os.path.join(DOCS, "compatibility.json"), os.path.join(DOCS, "compatibility.md")
BEGIN = "<!-- made by scripts/compatibility_table.py from compatibility.json: begin -->\n"
END = "<!-- end -->\n"


def read(path):
    with io.open(path, encoding="utf-8") as file:
        return file.read()


def parts():
    """[{"part": title, "names": [{"name", "state", "code", "how", "raises"}]}]."""
    return json.loads(read(NAMES))


def table():
    """The table of all names, in Markdown."""
    lines = []
    for part in parts():
        lines += ["### {}".format(part["part"]), "", "| name | here | |", "| --- | --- | --- |"]
        for entry in part["names"]:
            about = [entry.get("how", "")]
            if "raises" in entry:
                about.insert(0, "raises `{}`".format(entry["raises"].split(":")[0]))
            lines.append("| `{}` | {} | {} |".format(
                entry["name"].replace("|", "\\|"), entry["state"],
                "; ".join(text for text in about if text)))
        lines.append("")
    return "\n".join(lines)


def page():
    """The page with the table as it should be."""
    before, rest = read(PAGE).split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END, 1)[1]


def main():
    text = page()
    with io.open(PAGE, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
