# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""How two machines find out that they have the same secret, without sending it.

    machine i                                   machine 0
    knock{number}                      ->       draws a number, too
                                       <-       challenge{number, proof that it has the secret}
    hello{..., proof}                  ->       only now takes in what the other says
    stranger{}                         ->       instead: machine i has another secret

Both proofs cover both numbers and who gives them, so that none can be used a second time, or sent
back.
"""

from typing import Any, Dict, NamedTuple, Optional

from epl.launcher.channel import ChannelClosed, Message
from epl.shared import secret as secrets
from epl.typed import made, taken

KNOCK, CHALLENGE, HELLO, STRANGER = "knock", "challenge", "hello", "stranger"

_CHIEF, _OTHER = "machine 0", "another machine"


class _Challenge(NamedTuple):
    """What machine 0 answers to a knock."""

    number: str
    proof: str


class Knock:
    """Machine i > 0 at the door of machine 0.

    Args:
      secret: its own.
    """

    def __init__(self, secret: str):
        self._secret = secret
        self._number = secrets.draw()

    @property
    def fields(self) -> Dict[str, Any]:
        """Of the message `knock`."""
        return {"number": self._number}

    def answer(self, message: Message) -> Optional[str]:
        """The proof for `hello`; None if the challenger has another secret.

        Raises:
          ChannelClosed: `message` is no challenge.
        """
        try:
            challenge = made(_Challenge, message.fields)
        except ValueError:
            raise ChannelClosed("it did not say who it is") from None
        expected = secrets.proof(self._secret, _CHIEF, self._number, challenge.number)
        if message.kind != CHALLENGE or not secrets.equal(challenge.proof, expected):
            return None
        return secrets.proof(self._secret, _OTHER, self._number, challenge.number)


class Door:
    """Machine 0, towards one who has connected.

    Args:
      secret: its own.
    """

    def __init__(self, secret: str):
        self._secret = secret
        self._number = secrets.draw()
        self._knocked = ""

    def challenge(self, message: Message) -> Dict[str, Any]:
        """The fields of the answer to a knock. Raises ChannelClosed if it is none."""
        try:
            self._knocked = taken(message.fields, "number", str)
        except ValueError:
            raise ChannelClosed("it did not knock") from None
        return _Challenge(self._number, secrets.proof(
            self._secret, _CHIEF, self._knocked, self._number))._asdict()

    def admit(self, message: Message) -> None:
        """Raises ChannelClosed unless `message` proves that its sender has the secret."""
        expected = secrets.proof(self._secret, _OTHER, self._knocked, self._number)
        proof = message.fields.pop("proof", None)
        if not self._knocked or not isinstance(proof, str) or not secrets.equal(proof, expected):
            raise ChannelClosed("it does not have this job's secret")
