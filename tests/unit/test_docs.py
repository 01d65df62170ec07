# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pages can be read in a terminal, their links lead somewhere, and what they name is there."""

import os
import re

import pytest

from tests.support.jobs import ROOT

COLUMNS = 100
LONG = 120  # lines, from which on a page has a list of its sections
LISTS_OF_DATES = ("CHANGELOG.md",)
DIRECTORIES = (".", "docs", "examples/bert", "findings")


def pages():
    """The paths of all pages, relative to the repository."""
    found = [os.path.normpath(os.path.join(directory, name)) for directory in DIRECTORIES
             for name in os.listdir(os.path.join(ROOT, directory)) if name.endswith(".md")]
    return sorted(found)


def read(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def prose(text):
    """(number, line) of what is neither code nor a row of a table."""
    fence, code, before = None, False, ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r" *(```+|~~~+)", line)
        if mark and fence is None:
            fence = mark.group(1)
        elif fence is not None:
            if line.strip() == fence:
                fence = None
        else:
            # Four spaces begin code after an empty line only: else they go on with a list.
            code = line.startswith("    ") and (code or not before.strip())
            if not code and not line.lstrip().startswith("|"):
                yield number, line
        before = line


def headings(text):
    """The anchors of a page, as GitHub makes them."""
    found = []
    for _, line in prose(text):
        title = re.match(r"#+ (.*)", line)
        if title:
            words = re.sub(r"[^\w\- ]", "", title.group(1).lower()).replace(" ", "-")
            same = sum(1 for anchor, of in found if of == words)
            found.append((words + ("-{}".format(same) if same else ""), words))
    return [anchor for anchor, _ in found]


def links(text):
    """(number, target) of the links and pictures of a page, in tables too."""
    whole = "\n".join(line if not line.startswith("    ") else "" for line in text.splitlines())
    whole = re.sub(r"(?ms)^ *```.*?^ *```$", lambda code: "\n" * code.group().count("\n"), whole)
    whole = re.sub(r"`[^`]*`", lambda code: "`" + "\n" * code.group().count("\n"), whole)
    for link in re.finditer(r"\]\(([^)\s]+)\)", whole):
        yield whole.count("\n", 0, link.start()) + 1, link.group(1)


@pytest.mark.parametrize("page", pages())
def test_lines_have_at_most_100_columns(page):
    long = ["{}:{}".format(page, number) for number, line in prose(read(page))
            if len(re.sub(r"\]\([^)]*\)", "]", line)) > COLUMNS]
    assert not long, "more than {} columns".format(COLUMNS)


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_what_is_there(page):
    dead = []
    for number, target in links(read(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        to = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        there = os.path.exists(os.path.join(ROOT, to))
        if not there or anchor and anchor not in headings(read(to)):
            dead.append("{}:{}: {}".format(page, number, target))
    assert not dead


@pytest.mark.parametrize("page", pages())
def test_a_long_page_lists_its_sections(page):
    text = read(page)
    if text.count("\n") <= LONG or page in LISTS_OF_DATES:
        return
    sections = headings("\n".join(line for _, line in prose(text) if line.startswith("## ")))
    linked = {target[1:] for _, target in links(text) if target.startswith("#")}
    assert not [section for section in sections if section not in linked]


def test_the_architecture_names_modules_and_functions_that_there_are():
    text = read(os.path.join("docs", "architecture.md"))
    every = {os.path.relpath(os.path.join(directory, name), ROOT) for part in ("epl", "tests")
             for directory, _, names in os.walk(os.path.join(ROOT, part)) for name in names}
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert any(("/" + path).endswith("/" + name) for path in every), name
    rows = re.findall(r"^\| `([\w/]+\.py)` \| `(\w+)` \|", text, re.MULTILINE)
    assert rows
    for module, function in rows:
        assert re.search(r"^ *(def|class) {}\b".format(function),
                         read(os.path.join("epl", module)), re.MULTILINE), (module, function)


def test_the_index_names_every_page():
    index = os.path.join("docs", "README.md")
    named = {os.path.normpath(os.path.join("docs", target.partition("#")[0]))
             for _, target in links(read(index))}
    assert set(pages()) - {index} <= named


def test_the_pages_are_found():
    assert {"README.md", os.path.join("docs", "semantics.md")} <= set(pages())


def test_code_and_tables_may_be_long_and_prose_may_not():
    long = "x " * 60
    text = "\n".join(["| {} |".format(long), "```", long, "```", "", "    " + long, "",
                      "* a", "    " + long, long])
    assert [number for number, line in prose(text) if len(line) > COLUMNS] == [9, 10]


def test_links_are_found_outside_of_code():
    text = "[a](b.md#c)\n`[d](e)`\n```\n[f](g)\n```\n| [h](i) |\n"
    assert list(links(text)) == [(1, "b.md#c"), (6, "i")]
    assert headings("# A `b`, c\n## A `b`, c\n") == ["a-b-c", "a-b-c-1"]
