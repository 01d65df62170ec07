# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The table of docs/versions.md. Run by scripts/matrix.sh.

    versions_table.py row <version> <which tests> <report of pytest, or ""> <losses of the sample>
    versions_table.py write <page> <file of rows>
"""

import collections
import io
import re
import sys
from xml.etree import ElementTree

BEGIN = "<!-- made by scripts/matrix.sh --write: begin -->\n"
END = "<!-- end -->\n"


def installed(name):
    """The version of a package of this environment; "" without it."""
    try:
        from importlib import metadata
        return metadata.version(name)
    except ImportError:  # Python 3.7 has no such module; where it is, a package that is not there
        import pkg_resources
        return getattr(pkg_resources.working_set.by_key.get(name), "version", "")


def outcomes(report):
    """(passed, failed, {what a test needs: number of tests skipped for it}) of a report, if any."""
    if not report:
        return "", "", {}
    passed, failed, skipped = 0, 0, collections.Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            reason = case.find("skipped").get("message", "")
            needs = re.search(r"needs ([\w.]+)", reason)
            skipped[needs.group(1) if needs else "other"] += 1
        else:
            passed += 1
    return passed, failed, skipped


def row(version, which, report, losses):
    """A row of the table, and whether nothing failed."""
    keras = "tf-keras " + installed("tf-keras") if version.endswith(" tf-keras") \
        else installed("keras") or "in TensorFlow"
    passed, failed, skipped = outcomes(report)
    cells = [version.replace(" tf-keras", ""), "{}.{}".format(*sys.version_info[:2]),
             installed("numpy"), keras, which, passed, failed,
             ", ".join("{} {}".format(number, needs) for needs, number in sorted(skipped.items())),
             losses]
    return "| {} |".format(" | ".join(str(cell) for cell in cells)), passed != 0 and not failed


def key(line):
    """Where a row belongs: TensorFlow's releases by number, then builds of others."""
    version, keras = [line.split("|")[number].strip() for number in (1, 4)]
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return " " in version, numbers, keras.startswith("tf-keras")


def write(page, rows):
    """Put rows in the place of those of the same version and Keras."""
    with io.open(page, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    old, after = rest.split(END, 1)
    head, lines = old.splitlines()[:2], old.splitlines()[2:]
    with io.open(rows, encoding="utf-8") as file:
        lines += file.read().splitlines()
    lines = {str(key(line)): line for line in lines}  # the last of the same key
    body = "\n".join(head + sorted(lines.values(), key=key)) + "\n"
    with io.open(page, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + body + END + after)


if __name__ == "__main__":
    if sys.argv[1] == "row":
        text, good = row(*sys.argv[2:])
        print(text)
        sys.exit(not good)
    write(*sys.argv[2:])
