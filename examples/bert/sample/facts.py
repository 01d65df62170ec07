# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the sample's paragraphs say: facts, with the ways to state them and to ask for them.

`{s}` stands for the person that a fact is about, `{x}` for what it says about that person.
"""

from typing import NamedTuple, Tuple


class Fact(NamedTuple):
    """One thing that can be said about a person.

    Attributes:
      kind: what `{x}` is: "town", "person", "year" or "thing".
      statements: sentences, each with `{s}` and `{x}`.
      questions: questions, each with `{s}`, that `{x}` answers.
    """

    kind: str
    statements: Tuple[str, ...]
    questions: Tuple[str, ...]


FACTS = (
    Fact("town", ("{s} was born in {x}.", "{s} was really born in {x}."),
         ("Where was {s} born?", "In which town was {s} born?")),
    Fact("town", ("{s} opened a bakery in {x}.", "{s} also opened a bakery in {x}."),
         ("Where was it that {s} opened a bakery?",
          "In which town was it that {s} opened a bakery?")),
    Fact("town", ("{s} went to school in {x}.", "{s} gladly went to school in {x}."),
         ("Where was it that {s} went to school?",
          "In which town was it that {s} went to school?")),
    Fact("person", ("{s} married {x}.", "{s} soon married {x}."),
         ("Who was it that {s} married?", "Which person was it that {s} married?")),
    Fact("person", ("{s} learned violin from {x}.", "{s} first learned violin from {x}."),
         ("Who was it that {s} learned violin from?",
          "From whom was it that {s} learned violin?")),
    Fact("person", ("{s} played chess with {x}.", "{s} often played chess with {x}."),
         ("Who was it that {s} played chess with?", "With whom was it that {s} played chess?")),
    Fact("year", ("{s} wrote a novel in {x}.", "{s} finally wrote a novel in {x}."),
         ("When was it that {s} wrote a novel?", "In which year was it that {s} wrote a novel?")),
    Fact("year", ("{s} bought a mill in {x}.", "{s} proudly bought a mill in {x}."),
         ("When was it that {s} bought a mill?", "In which year was it that {s} bought a mill?")),
    Fact("year", ("{s} became mayor in {x}.", "{s} even became mayor in {x}."),
         ("When was it that {s} became mayor?", "In which year was it that {s} became mayor?")),
    Fact("thing", ("{s} sailed a boat called {x}.", "{s} once sailed a boat called {x}."),
         ("Which boat was it that {s} sailed?", "What was the boat called that {s} sailed?")),
    Fact("thing", ("{s} sang a song called {x}.", "{s} loudly sang a song called {x}."),
         ("Which song was it that {s} sang?", "What was the song called that {s} sang?")),
    Fact("thing", ("{s} grew a rose called {x}.", "{s} later grew a rose called {x}."),
         ("Which rose was it that {s} grew?", "What was the rose called that {s} grew?")),
)
KINDS = ("town", "person", "year", "thing")
PRONOUNS = ("He", "She")

# A name is a first syllable and an ending that tells what bears the name; a year is a century and
# two digits. Each of these is one word piece.
STARTS = ("ka", "lo", "mir", "ta", "be", "run", "sol", "vi", "dra", "nel", "fal", "gos", "hu",
          "jen", "pel", "qua", "ri", "sto", "tum", "wen", "yar", "zel", "bro", "cas", "dim", "el",
          "frol", "gil", "har", "ib")
ENDINGS = {
    "town": ("burg", "ford", "wick", "holm", "stad", "mouth"),
    "person": ("sen", "ova", "ini", "ard", "ez", "kin"),
    "thing": ("ria", "dor", "nix", "phe", "lux", "star"),
}
CENTURIES = ("17", "18", "19")
