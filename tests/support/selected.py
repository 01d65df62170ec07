# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which cases of a file are run: of those that are trained together, the others need not be."""


def values(request, name):
    """Those of the parameter `name` in the tests that run and are in the file of `request`."""
    found = [item.callspec.params for item in request.session.items
             if item.module is request.module and hasattr(item, "callspec")]
    return list(dict.fromkeys(params[name] for params in found if name in params))
