"""Every plausible fault in a reference solution is noticed by its notebook's own graded tests."""

import tomllib
from pathlib import Path

import pytest

from tito.author.mutation import mutate, try_in_process
from tito.course import notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(ROOT.glob("modules/*/*_dev.ipynb"))
LIGHT = ("tensor_dev", "activations_dev")

EQUIVALENT = tomllib.loads((ROOT / "tests/grading/equivalent.toml").read_text(encoding="utf-8"))["equivalent"]


def survivors(path, planted=(), hidden=True):
    """(number of mutants, those alive) of a notebook, tried in a fresh process on one thread."""
    return try_in_process(path, ROOT, planted, hidden)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=() if path.stem in LIGHT else pytest.mark.slow) for path in NOTEBOOKS],
)
def test_generated_mutants_die(path):
    """The others are tried by `tito dev check`, and at night."""
    count, alive = survivors(path)
    alive = [f"{cell}, line {line}: {change}" for cell, line, change in alive if f"{cell}: {change}" not in EQUIVALENT]
    assert count >= 25 and not alive, f"{len(alive)} of {count} live on:\n" + "\n".join(alive)


MISTAKES = tomllib.loads((ROOT / "tests/grading/mistakes.toml").read_text(encoding="utf-8"))


LESSONS = [ROOT / f"modules/09_spatial/{name}.ipynb" for name in ("spatial_dev", "blocks_dev")]


def planted(path):
    """The mistakes of people as mutants of a notebook of module 09: (cell, line, name, faulty source)."""
    sources = {cell["id"]: cell["source"] for cell in notebook.read(path)["cells"]}
    for name, mistake in MISTAKES.items():
        if mistake["cell"] not in sources:
            continue
        source = sources[mistake["cell"]]
        assert mistake["right"] in source, f"{name}: {mistake['cell']} no longer holds {mistake['right']!r}"
        yield mistake["cell"], 0, name, source.replace(mistake["right"], mistake["wrong"])


def test_mistakes_of_people_die():
    tried = {path: mistakes for path in LESSONS if (mistakes := list(planted(path)))}
    assert sum(map(len, tried.values())) == len(MISTAKES)
    assert [survivors(path, mistakes)[1] for path, mistakes in tried.items()] == [[] for _ in tried]


def test_a_hidden_test_kills_what_the_visible_ones_do_not():
    _, alive = survivors(LESSONS[0], list(planted(LESSONS[0])), hidden=False)
    names = {name for _, _, name in alive}
    assert "a bias although bias=False" in names and len(names) < len(MISTAKES) / 2, names


def test_mutate_changes_regions_only_and_leaves_messages_alone():
    source = (
        "limit = 1\ndef f(a):\n    ### BEGIN SOLUTION\n    if a < limit:\n        raise ValueError(f'{a + 1}')\n"
        "    return a + 1\n    ### END SOLUTION\n"
    )
    changes = [mutant.change for mutant in mutate("f", source)]
    raised = "raise ValueError(f'{a + 1}') -> pass"
    assert changes == ["a < limit -> (a <= limit)", raised, "return a + 1 -> return None", "a + 1 -> (a - 1)", "1 -> 2"]
