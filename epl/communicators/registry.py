# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Communicators by their names, as the configuration key `communication.communicator` says them."""

import importlib
import sys
from typing import Callable, Dict, List, Union

from epl.communicators.base import Communicator
from epl.errors import ConfigError, nearest, quoted

AUTO = "auto"  # see `resolve`

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


def resolve(name: str, workers: int) -> str:
    """The name of the communicator that a configuration asks for.

    Args:
      name: as the configuration says it; "auto": Horovod where it can be imported with TensorFlow,
        else native.
      workers: how many have to be connected; one worker needs none, and nothing is imported.
    """
    if name != AUTO:
        return name
    made = [each for each in ("horovod", "native") if each in _made and _made[each].is_connected]
    if made or workers == 1:
        return (made or ["horovod"])[0]
    from epl.communicators.horovod.backend import why_missing

    why = why_missing()
    if why:
        sys.stderr.write("epl: TensorFlow's own collectives connect the workers, as Horovod cannot "
                         "be imported ({})\n".format(quoted(why)))
    return "native" if why else "horovod"


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
