# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Odd values, and damage to good ones; all from a `random.Random`."""

import json

WORDS = ["", " ", "0", "1", "2", "-1", "+3", "1.5", "1e999", "nan", "inf", "true", "null", "x",
         "a:b", "\u0663", "\u00b2", "1_0", "0x10", "9" * 20, "9" * 5000, "a" * 300, "\0", "\n",
         "\x1b[2J", "\udc80", "\u202e", "localhost", "127.0.0.1", "h1:2", "h1:99999999999", "::1",
         "-oX", "slots=2", "slots=\u0662", "'", '"', "\\", ",", ",,", "#", "=", "{}", "[]", "%s",
         "{0}", "../.."]
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 65535, 65536, 2 ** 31, 2 ** 63, 2 ** 64, -2 ** 63, 10 ** 30, 0.0,
           -0.5, 1.5, 1e308, float("inf"), float("-inf"), float("nan")]


def word(draw):
    """A text: an odd one, or two of them together."""
    return "".join(draw.choice(WORDS) for _ in range(draw.choice((1, 1, 1, 2, 3))))


def scalar(draw):
    return draw.choice([None, True, False, draw.choice(NUMBERS), draw.choice(NUMBERS), word(draw)])


def value(draw, depth=3):
    """What JSON can hold."""
    kind = draw.random()
    if depth == 0 or kind < 0.6:
        return scalar(draw)
    if kind < 0.8:
        return [value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {word(draw): value(draw, depth - 1) for _ in range(draw.randrange(4))}


def changed(draw, good):
    """A good value of JSON with something odd in one place."""
    if isinstance(good, dict) and good and draw.random() < 0.85:
        key = draw.choice(sorted(good))
        result = dict(good)
        if draw.random() < 0.1:
            del result[key]
        elif draw.random() < 0.1:
            result[word(draw)] = result.pop(key)
        else:
            result[key] = changed(draw, good[key])
        return result
    if isinstance(good, list) and good and draw.random() < 0.85:
        place = draw.randrange(len(good))
        if draw.random() < 0.15:
            return good[:place] + [good[place]] + good[place:]
        return good[:place] + [changed(draw, good[place])] + good[place + 1:]
    return value(draw)


def text_of(draw, good):
    """JSON text of `good`, whole or changed; sometimes its characters are damaged, too."""
    parsed = good
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        parsed = changed(draw, parsed)
    try:
        text = json.dumps(parsed, ensure_ascii=draw.random() < 0.5)
    except ValueError:  # Python 3.11 does not write numbers of thousands of digits
        text = json.dumps(good)
    if draw.random() < 0.02:
        text = text[:1] + draw.choice("[{") * draw.choice((10, 100000)) + text
    return damaged(draw, text.encode("utf-8", "surrogatepass")) if draw.random() < 0.2 \
        else text.encode("utf-8", "surrogatepass")


def damaged(draw, data):
    """Bytes with some changed, cut out, or doubled."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(data) + 1)
        kind = draw.randrange(4)
        if kind == 0 and place < len(data):
            data[place] = draw.randrange(256)
        elif kind == 1:
            del data[place:place + draw.choice((1, 4, 100))]
        elif kind == 2:
            data[place:place] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 8))))
        else:
            data[place:place] = data[:draw.choice((1, 20))]
    return bytes(data)
