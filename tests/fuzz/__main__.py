# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The long run; see the package."""

import argparse
import sys
import time

from tests.fuzz.targets import TARGETS
from tests.fuzz.trial import run


def main():
    """Run the targets that are named, or all; returns 1 if there are faults."""
    parser = argparse.ArgumentParser(description="Bad input, drawn at random.")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=1000)
    arguments = parser.parse_args()
    found = 0
    for name in arguments.targets or TARGETS:
        begin = time.monotonic()
        faults = run(name, arguments.seed, arguments.first, arguments.cases)
        print("{}: {} cases, {} faults, {:.0f} s".format(
            name, arguments.cases, len(faults), time.monotonic() - begin), flush=True)
        for number, fault, case in faults[:10]:
            print("--- {} --seed {} --first {}: {!r:.300}\n{}".format(
                name, arguments.seed, number, case, fault))
        found += len(faults)
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
