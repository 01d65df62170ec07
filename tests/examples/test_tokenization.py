# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tokens are those of WordPiece, and know where in the text they come from."""

import pytest

from examples.bert.errors import UserError
from examples.bert.tokenization import Tokenizer, Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "##a", "want",
          "##ed", ",", "low", "cafe", "Cafe", "中", "文", "it", "'", "s", "$", "5", "i"]


@pytest.fixture(name="vocabulary")
def make_vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return Vocabulary(str(path))


def pieces(vocabulary, text, lower_case=True):
    return [token.piece for token in Tokenizer(vocabulary, lower_case).tokenize(text)]


def covered(vocabulary, text):
    """What the tokens cover of the original text."""
    return [text[t.start:t.end] for t in Tokenizer(vocabulary).tokenize(text)]


def test_longest_pieces_from_the_left(vocabulary):
    assert pieces(vocabulary, "unaffable") == ["un", "##aff", "##able"]


def test_a_word_that_cannot_be_cut_is_unknown_as_a_whole(vocabulary):
    assert pieces(vocabulary, "unwanted xyz low") == ["[UNK]", "[UNK]", "low"]
    assert covered(vocabulary, "low xyz") == ["low", "xyz"]


def test_a_very_long_word_is_unknown(vocabulary):
    assert pieces(vocabulary, "un" + "a" * 98) == ["un"] + ["##a"] * 98
    assert pieces(vocabulary, "un" + "a" * 99) == ["[UNK]"]
    # Letters are counted after cleaning, so that accents and invisible characters add nothing.
    assert pieces(vocabulary, "un" + "a\u0301\u200b" * 98) == ["un"] + ["##a"] * 98


def test_punctuation_and_symbols_stand_alone(vocabulary):
    assert pieces(vocabulary, "It's $5,wanted") == ["it", "'", "s", "$", "5", ",", "want", "##ed"]


def test_accents_go_with_lower_case_only(vocabulary):
    assert pieces(vocabulary, "CAFÉ") == ["cafe"]
    assert pieces(vocabulary, "Cafe", lower_case=False) == ["Cafe"]
    assert pieces(vocabulary, "Café", lower_case=False) == ["[UNK]"]


def test_a_decomposed_accent_belongs_to_its_letter(vocabulary):
    assert covered(vocabulary, "cafe\u0301 low") == ["cafe\u0301", "low"]


def test_a_letter_that_lower_case_makes_longer_keeps_its_place(vocabulary):
    assert pieces(vocabulary, "\u0130 low") == ["i", "low"]
    assert covered(vocabulary, "\u0130 low") == ["\u0130", "low"]


def test_ideographs_stand_alone(vocabulary):
    assert pieces(vocabulary, "low中文low") == ["low", "中", "文", "low"]


def test_control_characters_vanish_and_do_not_part_words(vocabulary):
    assert pieces(vocabulary, "wa\u0000n\u200dted\ufffd") == ["want", "##ed"]
    assert covered(vocabulary, "un\u0007aff low\u0000") == ["un", "aff", "low"]


def test_all_kinds_of_space_part_words(vocabulary):
    assert pieces(vocabulary, "low\u00a0low\tlow\u3000low\nlow") == ["low"] * 5
    assert pieces(vocabulary, "low\u2028low\u2029low\u1680low\rlow") == ["low"] * 5


# Expected are the tokens of the package `tokenizers` with the same vocabulary.
HARD = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "b", "##b", "A", "##\u0301",
        "=", ";", "-", "#", "[", "]", "sep", "\u1112", "##\u1161", "##\u11ab", "\U0001f469",
        "##\u0308", "##\U0001f4bb", "##\ufe0f", "\u4e2d", "\uf900", "\u8c48", "\u03c3", "##\u03c3",
        "##\u03c2", "i", "##i", "\u00df", "##\u20dd", "##\u0378", "A\u0308", "\u2014", "\u066a"]


@pytest.mark.parametrize("text, lower_cased, as_it_is", [
    ("a\u0301b A\u0308", ["a", "##b", "a"], ["a", "##\u0301", "##b", "A\u0308"]),
    ("\u00e1 \u00c5b \u00df", ["a", "a", "##b", "\u00df"], ["[UNK]", "[UNK]", "\u00df"]),
    ("\u0301a", ["a"], ["[UNK]"]),
    ("a\u2260b\u037ea", ["a", "=", "b", ";", "a"], ["[UNK]", "[UNK]", "a"]),
    ("\ud55c", ["\u1112", "##\u1161", "##\u11ab"], ["[UNK]"]),
    ("a\u4e2db\uf900", ["a", "\u4e2d", "b", "\u8c48"], ["a", "\u4e2d", "b", "\uf900"]),
    ("\u4e2d\u0301a", ["\u4e2d", "a"], ["\u4e2d", "[UNK]"]),
    ("\u03a3\u03c3\u03c2 \u03a3", ["\u03c3", "##\u03c3", "##\u03c2", "\u03c3"],
     ["[UNK]", "[UNK]"]),
    ("\u0130i", ["i", "##i"], ["[UNK]"]),
    ("\U0001f469\u200d\U0001f4bb\ufe0f", ["\U0001f469", "##\U0001f4bb"],
     ["\U0001f469", "##\U0001f4bb", "##\ufe0f"]),
    ("a\u20dd a\u0378", ["a", "##\u20dd", "a", "##\u0378"], ["a", "##\u20dd", "a", "##\u0378"]),
    ("a\x00\x1c\x7f\x85\xad\u200b\u2060\ufeff\ufffd\ue000b", ["a", "##b"], ["a", "##b"]),
    ("a\u2014b\u066a-\u200d-", ["a", "\u2014", "b", "\u066a", "-", "-"],
     ["a", "\u2014", "b", "\u066a", "-", "-"]),
    ("a##b", ["a", "#", "#", "b"], ["a", "#", "#", "b"]),
    ("A aA", ["a", "a", "##a"], ["A", "[UNK]"]),
    ("a[SEP]b [CLS][MASK]", ["a", "[SEP]", "b", "[CLS]", "[MASK]"],
     ["a", "[SEP]", "b", "[CLS]", "[MASK]"]),
    ("[sep] [UNK", ["[", "sep", "]", "[", "[UNK]"], ["[", "sep", "]", "[", "[UNK]"]),
    ("a[PAD]\u0301b", ["a", "[PAD]", "b"], ["a", "[PAD]", "[UNK]"]),
], ids=ascii)
def test_hard_strings(tmp_path, text, lower_cased, as_it_is):
    (tmp_path / "vocab.txt").write_text("\n".join(HARD) + "\n", encoding="utf-8")
    vocabulary = Vocabulary(str(tmp_path / "vocab.txt"))
    assert pieces(vocabulary, text) == lower_cased
    assert pieces(vocabulary, text, lower_case=False) == as_it_is


def test_special_pieces_in_a_text_know_their_place(vocabulary):
    assert covered(vocabulary, "low[SEP]low [CLS]") == ["low", "[SEP]", "low", "[CLS]"]


def test_no_text_no_tokens(vocabulary):
    assert pieces(vocabulary, " \n\u0000") == []


def load_vocab(path):
    """The ids as the loader published with BERT gives them."""
    ids = {}
    with open(str(path), "rb") as file:
        for number, line in enumerate(file):  # The lines of bytes end at b"\n" and nowhere else.
            ids[line.decode("utf-8").strip()] = number
    return ids


@pytest.mark.parametrize("content", [
    "a\nb\na\nc\n",  # a piece twice: the last line counts
    "a\n\n\nb\n\nc\n", "a\nb\nc\n\n\n", "\n\na\nb\nc",  # blank lines are lines
    "a\n\u2028\nb\n\u2029\n\u00a0\nc\n", "a\nb\u2028b\nx\x0by\x0cz\x1c\x1d\x1e\x85w\nc\n",
    "a\r\nb\r\nc\r\n", "a\nx\ry\nb\nc\n", " a \nb\t\nc\n", "a\nb\n\ufeff\nc\n",
    "[unused1]\na\n[unused1]\nb\nc\n",
], ids=ascii)
def test_ids_are_those_of_the_public_loader(tmp_path, content):
    path = tmp_path / "vocab.txt"
    path.write_bytes(("[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + content).encode("utf-8"))
    vocabulary, expected = Vocabulary(str(path)), load_vocab(path)
    expected.pop("", None)  # Nothing in a text is no piece.
    assert vocabulary.ids(sorted(expected)) == [expected[piece] for piece in sorted(expected)]
    assert len(vocabulary) == max(expected.values()) + 1
    assert "" not in vocabulary


def test_a_byte_order_mark_is_no_part_of_the_first_piece(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\ufeff[UNK]\n[CLS]\n[SEP]\n", "utf-8")
    assert Vocabulary(str(path)).ids(["[UNK]", "[SEP]"]) == [0, 2]


@pytest.mark.parametrize("lines, message", [
    (["[UNK]", "[CLS]", "a"], "lacks [SEP]"),
    ([""], "lacks [UNK], [CLS], [SEP]"),
])
def test_a_file_that_is_no_vocabulary(tmp_path, lines, message):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Vocabulary(str(path))
    assert message in str(caught.value) and str(path) in str(caught.value)
