# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""`compat.py` alone reads private parts of TensorFlow; others read those of their own classes."""

import ast

from tests.unit.test_layers import modules

# Of other libraries: argparse has no public list of a parser's options, Horovod none of its files.
ELSEWHERE = {"epl.launcher.cli": {"_actions"},
             "epl.communicators.horovod.backend": {"_basics", "_name"},
             "epl.communicators.native.server": {"_IO_flush_all"}}  # a function of the C library
PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_exit"}  # of named tuples, and of `os`


def own_names(tree):
    """What a module defines or assigns under private names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def private_reads(name, tree):
    allowed = own_names(tree) | PUBLIC | ELSEWHERE.get(name, set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") \
                and not node.attr.startswith("__") and node.attr not in allowed \
                and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            yield "{}:{} {}".format(name, node.lineno, node.attr)


def test_private_parts_of_tensorflow_are_read_in_one_module():
    found = [read for name, tree in sorted(modules().items()) if name != "epl.compat"
             for read in private_reads(name, tree)]
    assert not found


def test_a_read_elsewhere_would_be_found():
    assert list(private_reads("x", ast.parse("def f(op):\n    return op._id\n"))) == ["x:2 _id"]
