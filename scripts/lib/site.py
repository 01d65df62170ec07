# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""A hook of mkdocs: the pages stand where they are in the repository, so that all links hold.

docs/api.md lists the interface, a line for each name:

    * `epl.init`: what the first line of its docstring says

In the site each line becomes what the whole docstring says.
"""

import os
import re

from mkdocs.structure.files import File, Files

# What the site shows, and what pages of it link to.
_SHOWN = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs", "examples",
          "findings", "scripts")
_KINDS = (".md", ".png", ".py", ".sh")
_NAME = re.compile(r"^\* `([\w.]+)`: .*(\n  .*)*$", re.MULTILINE)


def on_files(files, config):
    """All pages of the repository, instead of those of one directory."""
    root = os.path.dirname(os.path.abspath(config.config_file_path))
    own = [each for each in files if each.src_dir != config.docs_dir]  # of themes and plugins
    return Files(own + [File(path, root, config.site_dir, config.use_directory_urls)
                        for path in _paths(root)])


def on_page_markdown(markdown, page, config, files):
    """The interface from its docstrings."""
    if page.file.src_uri != "docs/api.md":
        return markdown
    return _NAME.sub(lambda line: "::: {}\n".format(line.group(1)), markdown)


def _paths(root):
    for shown in _SHOWN:
        if os.path.isfile(os.path.join(root, shown)):
            yield shown
        for directory, inner, names in os.walk(os.path.join(root, shown)):
            inner[:] = sorted(name for name in inner if not name.startswith(("_", ".")))
            for name in sorted(names):
                if name.endswith(_KINDS):
                    yield os.path.relpath(os.path.join(directory, name), root)
