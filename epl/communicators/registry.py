# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Communicators by their names, as the configuration key `communication.communicator` says them."""

import importlib
import os
import sys
from typing import Callable, Dict, List, Union

from epl.communicators.base import Communicator
from epl.communicators.horovod import rendezvous
from epl.errors import ConfigError, nearest, quoted

AUTO = "auto"  # see `resolve`

Maker = Callable[[], Communicator]

_makers: Dict[str, Union[str, Maker]] = {
    "horovod": "epl.communicators.horovod.backend:HorovodCommunicator",
    "native": "epl.communicators.native.backend:NativeCommunicator",
    "shared_memory": "epl.communicators.shared_memory.backend:SharedMemoryCommunicator",
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
      ['horovod', 'mine', 'native', 'shared_memory']
      >>> epl.Config({"communication.communicator": "mine"}).communication.communicator
      'mine'
    """
    _makers[name] = make


def names() -> List[str]:
    """The names that there are."""
    return sorted(_makers)


def resolve(name: str, workers: int, on_one_machine: bool = False, on_gpus: bool = False) -> str:
    """The name of the communicator that a configuration asks for.

    Args:
      name: as the configuration says it. "auto": shared memory between processors of one machine,
        unless Horovod's runner started them or the script has begun Horovod; else Horovod where it
        can be imported with TensorFlow; else what needs nothing compiled.
      workers: how many have to be connected; one worker needs none, and nothing is imported.
      on_one_machine: all of them are.
      on_gpus: they compute there.
    """
    if name != AUTO:
        return name
    made = [each for each in sorted(_made) if _made[each].is_connected]
    if made or workers == 1:
        return (made or ["horovod"])[0]
    from epl.communicators.horovod.backend import is_begun, why_missing

    on_one_machine = on_one_machine and not _met_by_others()
    if on_one_machine and not on_gpus and not is_begun():
        return "shared_memory"
    why = why_missing()
    if not why:
        return "horovod"
    sys.stderr.write("epl: {}, as Horovod cannot be imported ({})\n".format(
        "shared memory connects the workers" if on_one_machine else
        "TensorFlow's own collectives connect the workers, whose servers only a firewall guards",
        quoted(why)))
    return "shared_memory" if on_one_machine else "native"


def _met_by_others() -> bool:
    """Whether the workers have a rendezvous that is not EPL's, as those of horovodrun."""
    meeting = rendezvous.meeting_of(os.environ)
    return meeting is not None and not meeting.secret


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
