# Copyright 2026 The EPL Authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw a program from a seed: pure data, made without TensorFlow.

What a program can have is said by the tables here and in `functions`; how it is built, in `blocks`
and `training`. Every choice is a word. A choice whose word is in `without` is not made.
"""

import random

ROWS = 16  # of the global batch
STEPS = 3
WIDTH = 4  # of what goes from block to block: [rows, WIDTH]
LENGTH = 3  # of a row's ids and of its sequence
VOCABULARY = 7
CLASSES = 3

_ACTIVATIONS = ("tanh", "sigmoid", "softplus", "relu", "linear")
ITERATORS = ("one_shot", "initializable", "feedable", "wired")  # whose last batch may be smaller
_SCHEDULES = ("preferbackward", "preferforward", "preferbackwardoptimizer", "zb-h1", "1f1b-ahead")
_LOOPS = {"while", "recurrent", "map", "scan", "cond", "case"}  # or what may have one inside
_MOST_DEVICES = 4
_MOST_CLONES = 8
# Clones x stages. What TensorFlow makes of a graph takes time that grows faster than the graph.
_MOST_CELLS = (4, 4, 4, 4, 4, 4, 4, 8)


class Draw:
    """Draws choices, leaving out those of some words."""

    def __init__(self, seed, without=()):
        self._random = random.Random(seed)
        self._without = without

    def allows(self, word):
        return word not in self._without

    def one(self, *options):
        """One of the options that are allowed; repeat an option to make it likelier."""
        return self._random.choice([o for o in options if self.allows(o)])

    def maybe(self, word, chance=0.5):
        """True with that chance, if `word` is allowed."""
        return self._random.random() < chance and self.allows(word)

    def number(self, least, most):
        return self._random.randint(least, most)

    def some(self, most, *options):
        """A list of up to `most` options, without repetition, in their order."""
        allowed = [o for o in options if self.allows(o)]
        size = min(self.number(0, most), len(allowed))
        return sorted(self._random.sample(allowed, size), key=allowed.index)


def draw(seed, without=()):
    """The program of a seed."""
    draw = Draw(seed, without)
    blocks = [_block(draw, "b{}".format(number)) for number in range(draw.one(1, 2, 2, 3, 3, 4, 5))]
    program = {
        "seed": seed,
        "layout": layout(draw, len(blocks) + 1),
        "dtype": draw.one("float64", "float64", "float64", "float32"),
        "resource": draw.maybe("resource"),
        "input": draw.one("placeholders", "placeholders", "one_shot", "initializable", "feedable",
                          "wired", "queue", "static"),
        "session": draw.one("plain", "plain", "monitored"),
        "blocks": blocks,
        "losses": [_loss(draw, name) for name in ("main", "other")[:draw.one(1, 1, 2)]],
        "together": draw.maybe("together"),
        "variables": draw.one("all", "halves"),
        "writes": [_write(draw, kind, "w{}".format(number)) for number, kind in enumerate(draw.some(
            3, "moving_mean", "count", "total", "maximum", "scatter_add", "scatter_update",
            "scatter_nd", "step_count", "target", "loss_average", "last_loss", "best_loss"))],
        "gradients_after_updates": draw.maybe("gradients_after_updates"),
        "metrics": draw.some(2, "metric_mean", "metric_accuracy", "metric_error"),
        "fetches": draw.some(4, "identity", "shifted", "parts", "summed", "rate", "norm", "rows",
                             "accuracy", "summary", "hits", "predictions",
                             "foreign"),
        "evaluate": draw.maybe("evaluate", 0.2),
        "shorter": draw.maybe("shorter"),
    }
    if program["layout"]["workers"] > 1:
        program["evaluate"] = False  # by itself a loss is that of the rows that this worker feeds
        if not program["together"] and len(program["losses"]) > 1:
            # So is, in a step, one that the step does not train; "foreign" has it fetched there.
            program["fetches"] = [name for name in program["fetches"]
                                  if name not in ("summed", "foreign")]
    kinds = {spec["kind"] for spec in blocks}
    if program["input"] not in ITERATORS:
        program["shorter"] = False
    if "batch_norm" in kinds:  # alone it normalises all that it is fed
        program["evaluate"] = program["shorter"] = False
        for spec in blocks:
            # Where a list may be empty, or Python computes, nobody knows that rows come out: their
            # statistics are then the whole batch's.
            if spec.get("lookup") == "sparse":
                spec["lookup"] = "lookup"
            if spec["kind"] == "py_func":
                spec["kind"] = "stop_gradient"
    if not program["resource"] and kinds & _LOOPS:
        # Plain TensorFlow gives wrong gradients of loops there, see docs/semantics.md.
        program["gradients_after_updates"] = False
    return program


def layout(draw, parts):
    """How the global batch is divided: at least two clones or two stages."""
    most_cells = draw.one(*_MOST_CELLS)
    while True:
        found = {"workers": draw.one(1, 1, "two_workers"),
                 "stages": draw.one(1, 1, 2, 2, 3), "replicas": draw.one(1, 1, 2),
                 "micro_batches": draw.one(1, 2, 2, 4), "schedule": draw.one(*_SCHEDULES)}
        found["workers"] = 2 if found["workers"] == "two_workers" else 1
        clones = found["workers"] * found["replicas"] * found["micro_batches"]
        if (found["stages"] * found["replicas"] <= _MOST_DEVICES and clones <= _MOST_CLONES
                and clones * found["stages"] <= most_cells
                and found["stages"] <= parts and clones * found["stages"] > 1):
            return found


def _block(draw, name):
    kind = draw.one(*[kind for kind, _ in BLOCKS])
    options = dict(BLOCKS)[kind](draw)
    return dict({"kind": kind, "name": name, "back": draw.one(0, 0, 0, 1, 2)}, **options)


def _function(draw, depth=0):
    """What happens to a value in a branch or in the body of a loop."""
    nested = ("cond", "while") if depth < 1 and draw.allows("nested") else ()
    kind = draw.one("matmul", "scale", "shift", "zeros", "zeros_like", "outer", "identity",
                    "tanh", *nested)
    found = {"kind": kind}
    if kind in ("matmul", "scale"):
        found["variable"] = draw.one("inside", "outside", "shared")
    if kind == "cond":
        found.update(_cond(draw, depth + 1))
    if kind == "while":
        found.update(_while(draw, depth + 1))
    return found


def _cond(draw, depth=0):
    return {"predicate": draw.one("odd_step", "first_step", "always", "never", "variable", "flag"),
            "true": _function(draw, depth), "false": _function(draw, depth),
            "residual": draw.maybe("residual")}


def _while(draw, depth=0):
    return {"times": draw.one("1", "2", "3", "by_step"), "body": _function(draw, depth),
            "array": draw.maybe("array", 0.25)}


def _dense(draw):
    return {"activation": draw.one(*_ACTIVATIONS), "inner": draw.one(0, 0, 5),
            "residual": draw.maybe("residual"), "decay": draw.maybe("decay", 0.25)}


def _embedding(draw):
    return {"table": draw.one("table0", "table1"),
            "lookup": draw.one("lookup", "gather", "one_hot", "positions", "sparse", "product"),
            "combine": draw.one("mean", "sum", "concat")}


def _recurrent(draw):
    return {"cell": draw.one("basic", "gru", "lstm"), "of": draw.one("sequence", "ids", "state"),
            "unrolled": draw.maybe("unrolled", 0.3), "lengths": draw.maybe("lengths")}


BLOCKS = (
    ("dense", _dense),
    ("dense", _dense),
    ("embedding", _embedding),
    ("embedding", _embedding),
    ("scale", lambda draw: {"variable": draw.one("own", "shared")}),
    ("tied", lambda draw: {"transpose": draw.maybe("transpose")}),
    ("layer_norm", lambda draw: {}),
    ("batch_norm", lambda draw: {"fused": draw.maybe("fused", 0.3)}),
    ("convolution", lambda draw: {"rank": draw.one(1, 2), "pool": draw.maybe("pool")}),
    ("dropout", lambda draw: {"how": draw.one("layer", "rate")}),
    ("recurrent", _recurrent),
    ("attention", lambda draw: {}),
    ("cond", _cond),
    ("cond", _cond),
    ("while", _while),
    ("while", _while),
    ("case", lambda draw: {"branches": [_function(draw, 1) for _ in range(3)]}),
    ("map", lambda draw: {"function": _function(draw), "by_row": draw.maybe("by_row")}),
    ("scan", lambda draw: {"fold": draw.maybe("fold"), "body": _function(draw, 1)}),
    ("py_func", lambda draw: {}),
    ("custom_gradient", lambda draw: {}),
    ("stop_gradient", lambda draw: {}),
    ("shapes", lambda draw: {"how": draw.one("concat", "where", "gather", "sort", "cumsum",
                                             "einsum", "softmax", "assert", "dynamic")}),
    ("summary", lambda draw: {}),
)


def _loss(draw, name):
    return {
        "name": name,
        "parts": [{"kind": draw.one("square", "squares_of_tf_losses", "cross_entropy", "weighted",
                                    "huber", "sum_over_rows", "masked", "masked_by_library",
                                    "normalised_weights", "sum", "chosen", "chosen_by_size"),
                   "weight": draw.one(1.0, 0.5), "of": draw.one("last", "last", "all", "first")}
                  for _ in range(draw.one(1, 1, 2))],
        "decay": draw.maybe("decay", 0.3),
        "optimizer": draw.one("sgd", "momentum", "nesterov", "adam", "adagrad", "rmsprop"),
        "rate": draw.one("constant", "constant", "exponential", "piecewise", "cosine", "fed",
                         "variable"),
        "style": draw.one("compute", "gated", "gradients"),
        "clip": draw.one("none", "none", "global_norm", "value", "norm", "dense_norm"),
        "weight_decay": draw.maybe("weight_decay", 0.25),
        "average": draw.maybe("average", 0.25),
    }


def _write(draw, kind, name):
    return {"kind": kind, "name": name, "of": draw.one("last", "first"),
            "when": draw.one("update_ops", "update_ops", "after",
                             # A weight must not be read while it is updated.
                             "update_ops" if kind == "target" else "beside")}
