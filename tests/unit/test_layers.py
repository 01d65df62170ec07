# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Modules import in one direction, through the layers that docs/architecture.md names.

Imports inside of functions count. The package itself (`epl`) loads all of them on first use; it
is above all layers.
"""

import ast
import functools
import os
import re
import sys
from typing import NamedTuple, Set

import pytest

from tests.support.jobs import ROOT

TOP = "epl"


class Layer(NamedTuple):
    """A row of the table: modules and packages, and the rows that they may import."""

    names: Set[str]
    imports: Set[str]


@functools.lru_cache(maxsize=None)
def modules(root=ROOT):
    """name -> parsed source of every module of the package."""
    found = {}
    for directory, _, files in os.walk(os.path.join(root, TOP)):
        for file in files:
            if file.endswith(".py"):
                path = os.path.join(directory, file)
                name = os.path.relpath(path, root)[:-len(".py")].replace(os.sep, ".")
                with open(path, encoding="utf-8") as source:
                    found[re.sub(r"\.__init__$", "", name)] = ast.parse(source.read(), path)
    return found


def imported(tree, known):
    """The modules of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import in line {}".format(node.lineno)
            names = ["{}.{}".format(node.module, alias.name) for alias in node.names]
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return found - {""}


def import_graph(root=ROOT):
    trees = modules(root)
    graph = {name: imported(tree, trees) - {name} for name, tree in trees.items()}
    del graph[TOP]
    return graph


def cycle(graph):
    """Some modules that import one another in a circle, in order; [] if none do."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name):] + [name]
        if name in done:
            return []
        path.append(name)
        for other in sorted(graph.get(name, ())):
            found = visit(other)
            if found:
                return found
        done.add(path.pop())
        return []

    return next(filter(None, map(visit, sorted(graph))), [])


def section(title):
    with open(os.path.join(ROOT, "docs", "architecture.md"), encoding="utf-8") as file:
        return file.read().split("## {}\n".format(title))[1].split("\n## ")[0]


def layers():
    """name of a row -> `Layer`, from the top to the bottom, as the table has them."""
    found = {}
    for line in section("Layers").splitlines():
        if line.startswith("| ") and "`" in line:
            row, names, below = [cell.strip() for cell in line.strip("|").split("|")]
            found[row] = Layer(set(re.findall("`([^`]+)`", names)), set(
                re.findall(r"[a-z]+", below)))
    return found


def row_of(module, table):
    """The row with the longest name that the module begins with."""
    matching = [(len(name), row) for row, layer in table.items() for name in layer.names
                if module == name or module.startswith(name + ".")]
    return max(matching)[1] if matching else None


def calls(tree, owner, method):
    """Lines in which `owner.method` is called."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and node.attr == method and isinstance(node.value, ast.Name) and node.value.id == owner]


def test_no_modules_import_one_another_in_a_circle():
    assert cycle(import_graph()) == []


def test_the_table_has_one_direction():
    table = layers()
    rows = list(table)
    for number, row in enumerate(rows):
        assert table[row].imports <= set(rows[number + 1:]), row


def test_every_module_is_in_a_layer_and_imports_what_the_table_says():
    graph, table = import_graph(), layers()
    for module, others in graph.items():
        row = row_of(module, table)
        assert row is not None, "{} is in no row of docs/architecture.md".format(module)
        for other in others:
            assert row_of(other, table) in table[row].imports | {row}, "{} imports {}".format(
                module, other)


def test_the_table_says_no_more_than_is_so():
    graph, table = import_graph(), layers()
    for row, layer in table.items():
        used = {row_of(other, table) for module, others in graph.items()
                if row_of(module, table) == row for other in others}
        assert layer.imports <= used, "'{}' imports no {}".format(row, layer.imports - used)
        for name in layer.names:
            assert any(m == name or m.startswith(name + ".") for m in graph), name


def test_only_entrances_ask_for_the_environment_of_the_process():
    paragraph = section("Entrances").split("\n\n")[1]
    listed = {name for name in re.findall(r"`(epl\.[a-z_.]+)`", paragraph) if name in modules()}
    asking = {name for name, tree in modules().items() if calls(tree, "Env", "get")}
    assert asking == listed


def test_horovods_words_live_in_one_place():
    """Its variables, the types of its operations, its module, and what it says."""
    words = re.compile(r"HOROVOD_[A-Z_]+|Horovod[A-Z]\w+|Horovod has|horovod(\.\w+)+")
    for name, tree in modules().items():
        if name.startswith("epl.communicators.horovod"):
            continue
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} if \
            sys.version_info >= (3, 8) else {
                node.s for node in ast.walk(tree) if isinstance(node, ast.Str)}
        found = {text for text in texts if isinstance(text, str) and words.fullmatch(text)}
        assert not found, "{}: {}".format(name, found)
        assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) and any(
            alias.name.split(".")[0] == "horovod" for alias in node.names)
            for node in ast.walk(tree)), name


@pytest.mark.parametrize("files, expected", [
    ({"a": "import epl.b", "b": "from epl import c", "c": "x = 1"}, []),
    ({"a": "import epl.b", "b": "from epl import c", "c": "from epl.a import x"},
     ["epl.a", "epl.b", "epl.c", "epl.a"]),
    ({"a": "def f():\n    from epl.b import y", "b": "import epl.a"},
     ["epl.a", "epl.b", "epl.a"]),
])
def test_circles_are_found(tmp_path, files, expected):
    (tmp_path / TOP).mkdir()
    (tmp_path / TOP / "__init__.py").write_text("from epl.a import f\n")
    for name, text in files.items():
        (tmp_path / TOP / (name + ".py")).write_text(text + "\n")
    assert cycle(import_graph(str(tmp_path))) == expected
