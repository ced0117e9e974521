"""`predict` cells: guess first, then run."""

import numpy as np


class Predict:
    """Guess before you run: `predict("shape", (2, 8, 15, 15))`, then, after running, `predict.reveal(out.shape)`.

    Guesses are kept by kind, so that several can stand open; `reveal` answers the newest open one, or the one whose
    kind it is given. `...` or None stands for "no guess yet": then `reveal` asks for one, once, before it tells.
    """

    def __init__(self):
        self.open, self.right, self.asked, self.reminded = {}, 0, 0, set()

    def __call__(self, kind, *guess):
        guess = guess[0] if len(guess) == 1 else guess or None
        self.open.pop(kind, None)
        self.open[kind] = None if guess is ... else guess
        if self.open[kind] is None:
            print(f"{kind}: write your guess in place of the dots, and run this cell; the next one answers")
        else:
            print(f"{kind}: you say {_show(guess)}. Now run the next cell.")

    def reveal(self, actual, kind=None, within=1e-6):
        """Say whether the guess was right. within: relative tolerance for numbers (0.1 accepts 10 % off)."""
        if kind is None and not self.open or kind is not None and kind not in self.open:
            print(f"no guess is open{'' if kind is None else f' for {kind!r}'}: it is {_show(actual)}")
            return
        kind = kind or next(reversed(self.open))
        guess = self.open.pop(kind)
        if guess is None and kind not in self.reminded:
            self.reminded.add(kind)
            self.open[kind] = None
            print(f"{kind}: guess first, in the cell above, and run it; or run this cell again, and it tells")
            return
        if guess is None:
            print(f"{kind}: it is {_show(actual)} (no guess this time)")
            return
        self.asked += 1
        self.right += (good := _same(guess, actual, within))
        verdict = "right" if good else "not this time"
        why = "" if good else _difference(guess, actual)
        print(f"{kind}: {verdict}. You said {_show(guess)}, it is {_show(actual)}{why}.", end=" ")
        print(f"({self.right} of {self.asked} so far)")


def _show(value):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else str(value)


def _same(guess, actual, within):
    if isinstance(actual, str) or isinstance(guess, str):
        return str(guess).strip().lower() == str(actual).strip().lower()
    guess, actual = np.asarray(guess), np.asarray(actual)
    return guess.shape == actual.shape and bool(np.allclose(guess, actual, rtol=within, atol=1e-9))


def _difference(guess, actual):
    """Which axis is off, when two shapes of one length differ."""
    if not (isinstance(guess, (tuple, list)) and isinstance(actual, (tuple, list))):
        return ""
    if len(guess) != len(actual):
        return f": {len(actual)} axes, not {len(guess)}"
    axes = [str(at) for at, (g, a) in enumerate(zip(guess, actual, strict=True)) if g != a]
    return f": look at axis {' and '.join(axes)}"


predict = Predict()
