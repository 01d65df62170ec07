# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""The EPL side of every pattern in docs/migrating.md, one after the other.

Usage: migrating.py SHARED_DIRECTORY TITLE...
"""

import os
import sys

import tensorflow.compat.v1 as tf

from tests.dist.jobs.common import report
from tests.support.migrating import found_by, read_page

PAGE = read_page()


def run(number, title):
    with tf.Graph().as_default():
        code = PAGE.shared + PAGE.with_epl + PAGE.patterns[title][1]
        found = found_by(code, os.path.join(sys.argv[1], str(number)))
        return [value.tolist() for value in found]


report(**{title: run(number, title) for number, title in enumerate(sys.argv[2:])})
