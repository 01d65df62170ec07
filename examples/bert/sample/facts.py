# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the sample's paragraphs say: facts, with the ways to state them and to ask for them.

`{s}` stands for the person that a fact is about, `{x}` for what it says about that person.
"""

from typing import NamedTuple, Tuple


class Fact(NamedTuple):
    """One thing that can be said about a person.

    Attributes:
      kind: what `{x}` is: "town", "person", "year" or "animal".
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
         ("Where did {s} open a bakery?", "In which town did {s} open a bakery?")),
    Fact("town", ("{s} went to school in {x}.", "{s} gladly went to school in {x}."),
         ("Where did {s} go to school?", "In which town did {s} go to school?")),
    Fact("person", ("{s} married {x}.", "{s} soon married {x}."),
         ("Who married {s}?", "Whom did {s} marry?")),
    Fact("person", ("{s} learned violin from {x}.", "{s} first learned violin from {x}."),
         ("Who taught {s} violin?", "From whom did {s} learn violin?")),
    Fact("person", ("{s} played chess with {x}.", "{s} often played chess with {x}."),
         ("Who played chess with {s}?", "With whom did {s} play chess?")),
    Fact("year", ("{s} wrote a novel in {x}.", "{s} finally wrote a novel in {x}."),
         ("When did {s} write a novel?", "In which year did {s} write a novel?")),
    Fact("year", ("{s} bought a mill in {x}.", "{s} proudly bought a mill in {x}."),
         ("When did {s} buy a mill?", "In which year did {s} buy a mill?")),
    Fact("year", ("{s} became mayor in {x}.", "{s} even became mayor in {x}."),
         ("When did {s} become mayor?", "In which year did {s} become mayor?")),
    Fact("animal", ("{s} rode a horse named {x}.", "{s} once rode a horse named {x}."),
         ("Which horse did {s} ride?", "What was the horse of {s} named?")),
    Fact("animal", ("{s} fed a parrot named {x}.", "{s} kindly fed a parrot named {x}."),
         ("Which parrot did {s} feed?", "What was the parrot of {s} named?")),
    Fact("animal", ("{s} walked a dog named {x}.", "{s} later walked a dog named {x}."),
         ("Which dog did {s} walk?", "What was the dog of {s} named?")),
)
KINDS = ("town", "person", "year", "animal")
PRONOUNS = ("He", "She")

# A name is a first syllable and an ending that tells what bears the name; a year is a century and
# two digits. Each of these is one word piece.
STARTS = ("ka", "lo", "mir", "ta", "be", "run", "sol", "vi", "dra", "nel", "fal", "gos", "hu",
          "jen", "pel", "qua", "ri", "sto", "tum", "wen", "yar", "zel", "bro", "cas", "dim", "el",
          "frol", "gil", "har", "ib")
ENDINGS = {
    "town": ("burg", "ford", "wick", "holm", "stad", "mouth"),
    "person": ("sen", "ova", "ini", "ard", "ez", "kin"),
    "animal": ("ria", "dor", "nix", "phe", "lux", "star"),
}
CENTURIES = ("17", "18", "19")
