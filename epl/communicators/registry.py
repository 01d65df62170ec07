# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Communicators by their names, as the configuration key `communication.communicator` says them."""

import importlib
from typing import Callable, Dict, List, Union

from epl.communicators.base import Communicator
from epl.errors import ConfigError, nearest

Maker = Callable[[], Communicator]

_makers: Dict[str, Union[str, Maker]] = {
    "horovod": "epl.communicators.horovod.backend:HorovodCommunicator",
    "native": "epl.communicators.native.backend:NativeCommunicator",
}
_made: Dict[str, Communicator] = {}  # a process is connected once, whatever is initialized again


def register(name: str, make: Union[str, Maker]) -> None:
    """Let `communication.communicator` have a further value; a name that there is, is replaced.

    Call it on every worker, before `epl.init`.

    Args:
      name: what the configuration says, in lower case.
      make: makes it: a function without arguments, or "module:attribute", which is imported on
        first use.

    Examples:
      >>> from epl.communicators import registry
      >>> registry.register("mine", "my_package.mine:MyCommunicator")
      >>> registry.names()
      ['horovod', 'mine', 'native']
      >>> epl.Config({"communication.communicator": "mine"}).communication.communicator
      'mine'
    """
    _makers[name] = make


def names() -> List[str]:
    """The names that there are."""
    return sorted(_makers)


def communicator(name: str) -> Communicator:
    """This process's communicator of this name, made on first use.

    Raises:
      ConfigError: there is none of this name.
    """
    if name not in _makers:
        raise ConfigError("communication.communicator = '{}' is unknown; {}".format(
            name, nearest(name, _makers)))
    if name not in _made:
        make = _makers[name]
        if isinstance(make, str):
            module, _, attribute = make.partition(":")
            make = getattr(importlib.import_module(module), attribute)
        _made[name] = make()  # type: ignore[operator]
    return _made[name]
