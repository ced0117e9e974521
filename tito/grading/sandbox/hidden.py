"""Hidden parts of a test: where they begin and end while it runs, and inputs that are each student's own.

A generator that a hidden part makes from a number (`np.random.default_rng(7)`) draws what the course's secret, the
assignment and the student make of it. Elsewhere, and without a secret, it draws the same for everybody.
"""

import ast
import functools

import numpy as np

MARK = "__hidden_part__"  # the function that a test calls, with True and False, where its hidden parts begin and end

_state: dict = {"inside": False, "seed": None}


def inside(begins: bool) -> None:
    """A hidden part begins or ends."""
    _state["inside"] = begins


def install() -> None:
    """From now on generators made in hidden parts of this process's tests draw what `seed` says."""
    np.random.default_rng = _own_inputs(np.random.default_rng)


def seed(words: list[int] | None) -> None:
    """The numbers of the student whose inputs hidden parts draw; None: the same for everybody."""
    _state["seed"] = words


def _own_inputs(make):
    @functools.wraps(make)
    def default_rng(seed=None):
        words = _state["seed"] if _state["inside"] else None
        if words and seed is not None and not isinstance(seed, np.random.Generator | np.random.BitGenerator):
            return make([*words, *np.atleast_1d(seed).tolist()])
        return make(seed)

    return default_rng


def marked(source: str, regions: list[tuple[int, int]], name: str):
    """The tree of a test that says where its hidden parts begin and end, each statement on its own line."""
    lines = source.split("\n")
    for first, last in regions:
        for number, begins in ((first, True), (last, False)):
            line = lines[number - 1]
            lines[number - 1] = f"{line[: len(line) - len(line.lstrip())]}{MARK}({begins})"
    try:
        return compile("\n".join(lines), name, "exec", ast.PyCF_ONLY_AST)
    except SyntaxError:  # a part that is no statement of its own: then all of the test is hidden
        tree = ast.parse(source, name)
        tree.body.insert(0, ast.parse(f"{MARK}(True)").body[0])
        return tree


def without(source: str, regions: list[tuple[int, int]]) -> str:
    """A test without its hidden parts, every other line in its place."""
    lines = source.split("\n")
    for first, last in regions:
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(lines)
