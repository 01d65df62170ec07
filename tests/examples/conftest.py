# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the example keeps between runs stays in the tests' own directory."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """The scripts that tests start inherit the variable too."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
