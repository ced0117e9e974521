"""`tito dev check` on toy courses with one fault each."""

import json
import subprocess

import pytest
import typer

from tito.author.check import count_words, named_commands, unknown
from tito.cli import app
from tito.course import notebook

SOLVED = "#| export\ndef double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
HINTS = ["one", "two", "three"]


@pytest.fixture
def course(toy):
    """A course without a fault: one exercise of a hundred points."""
    toy.module("01", "alpha", [("double", SOLVED, toy.TEST_DOUBLE, 100)], hints=HINTS)
    toy.folder = toy.root / "modules/01_alpha"
    toy.path, toy.entry = toy.folder / "alpha_dev.ipynb", toy.folder / "module.toml"
    (toy.folder / "README.md").write_text("Type `tito test 01`, then `tito export 01`.\n")
    return toy


@pytest.fixture
def check(tito):
    def run(*words):
        end = tito("dev", "check", *words, columns=300)
        assert end.code == ("wrong" in end.out)
        return [line.removeprefix("wrong ") for line in end.out.splitlines() if line.startswith("wrong")]

    return run


OWN = """\
    ### BEGIN HIDDEN TESTS
    import numpy
    drawn = numpy.random.default_rng(0).integers(100, size=3)
    assert numpy.array_equal(double(drawn), 2 * drawn)
    ### END HIDDEN TESTS
test_unit"""


def test_a_sound_course_has_no_fault_its_mutants_die_and_no_liar_is_paid(course, check):
    paid = ["alpha_dev.ipynb: alpha_dev.ipynb, test_double pays a liar (the answers to somebody else's hidden inputs)"]
    assert [problem.split(": hold")[0] for problem in check()] == paid
    path = course.folder / "alpha_dev.ipynb"
    nb = notebook.read(path)
    for cell in nb["cells"]:
        if cell["id"] == "test_double":
            cell["source"] = cell["source"].replace("\ntest_unit", "\n" + OWN)
    notebook.write(path, nb)
    assert check() == []


def rewrite(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_every_fault_in_the_files_is_named(course, check):
    (course.folder / "notes.txt").touch()
    (course.root / "modules/elsewhere").mkdir()
    (course.folder / "README.md").write_text("`tito tset 01`, `tito module begin 01`, `tito test 01 --fast`\n")
    rewrite(course.entry, '"one", ', "")
    nb = notebook.read(course.path)
    nb["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x"]}]
    nb["cells"] += [{"cell_type": "markdown", "id": f"m{n}", "metadata": {}, "source": "word " * 30} for n in range(80)]
    nb["cells"][2]["metadata"]["nbgrader"]["points"] = 90
    notebook.write(course.path, nb)
    course.path.write_text(course.path.read_text() + "\n")
    found = "\n".join(check("--no-mutants"))
    for sentence in (
        "modules/elsewhere is no module's folder",
        "notes.txt is named in no module.toml",
        "there is no command tito tset",
        "there is no command tito module begin",
        "it has no option --fast",
        "README.md does not name `tito export 01`",
        "exercise double has 2 hints",
        "holds outputs or an execution count",
        "alpha_dev.ipynb is not in canonical form",
        "has 83 cells, more than 75",
        "has 2400 words of prose",
        "add up to 90, not 100",
    ):
        assert sentence in found, sentence


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ('hints = ["one", "two", "three"]', 'hints = ["one", "two", "three", "four"]', "double has 4 hints, not three"),
        ('hints = ["one", "two", ', 'hints = ["one", "return 2 * x", ', "a hint of exercise double quotes its"),
        ('title = "Task double"', 'title = ""', "exercise double has no title"),
        ("difficulty = 1", "difficulty = 4", "exercise double has the difficulty 4"),
        ("minutes = 5", "minutes = 0", "exercise double takes 0 minutes"),
        (
            'solution = ["double"]',
            'solution = ["lost"]',
            "names the solution cell lost, which alpha_dev.ipynb does not",
        ),
        ('solution = ["double"]', "solution = []", "no exercise claims the solution cell double"),
        ('solution = ["double"]', 'solution = ["double", "double"]', "double is claimed by two exercises"),
        (
            'tests = ["test_double"]',
            'tests = ["double"]',
            "names the graded cell double, which alpha_dev.ipynb does not",
        ),
        ('tests = ["test_double"]', "tests = []", "no exercise claims the graded cell test_double"),
        ("requires = []", 'requires = ["02"]', "`requires` names 02, which does not come before 01"),
        ("notebooks = [", 'bonus = ["alpha_dev.ipynb"]\nnotebooks = [', "`bonus` names all notebooks but the first"),
    ],
)
def test_every_fault_in_the_registry_is_named(course, check, old, new, sentence):
    rewrite(course.entry, old, new)
    assert sentence in "\n".join(check("--no-mutants"))


def test_a_modules_page_says_what_every_exercise_asks_and_is_worth(course, check):
    page, row = course.folder / "README.md", "| `double`: Task double | * | 5 | 100 |"
    head = "`tito test 01`, `tito export 01`\n\n| exercise | difficulty | minutes | points |\n|---|---|---|---|\n"
    for table in ("", row.replace("*", "**"), row.replace("100", "90"), row.replace(" 5 ", " 6 ")):
        page.write_text(head + table + "\n")
        assert f"README.md: its table lacks the row {row}" in "\n".join(check("--no-mutants"))
    page.write_text(head + row + "\n\nMore.\n")
    (course.root / "docs").mkdir()
    (course.root / "docs" / "day.md").write_text("Then `tito tset 01`.\n")
    (problem,) = check("--no-mutants")
    assert "docs/day.md names `tito tset 01`: there is no command tito tset" in problem.replace("\\", "/")


def test_numbered_exercises_count_from_one(course, check):
    def number(*numbers):
        texts = [f"### Exercise {n}: more" for n in numbers]
        cells = [{"cell_type": "markdown", "id": f"h{i}", "metadata": {}, "source": s} for i, s in enumerate(texts)]
        course.notebook("01", "alpha", [("double", SOLVED, course.TEST_DOUBLE, 100)], cells)

    number(1, 2)
    assert check("--no-mutants") == []
    number(1, 3)
    assert "after Exercise 1 the heading Exercise 3 follows: number them anew" in "\n".join(check("--no-mutants"))


def test_what_a_module_imports_it_requires_and_its_second_notebook_is_a_bonus_of_fifty(course, check):
    uses = "#| export\nfrom tinytorch.core.alpha import double\ndef later():\n    from tinytorch.core.beta import f"
    course.module("02", "beta", [("f", SOLVED.replace("double", "f"), course.TEST_DOUBLE, 100)], hints=HINTS)
    folder = course.root / "modules/02_beta"
    (folder / "README.md").write_text("`tito test 02`, `tito export 02`")
    nb = notebook.read(folder / "beta_dev.ipynb")
    nb["cells"].insert(1, course.cell("code", "uses", uses))
    notebook.write(folder / "beta_dev.ipynb", nb)
    nb["cells"] = [course.cell("code", "target", "#| default_exp core.more")]
    notebook.write(folder / "more_dev.ipynb", nb)
    rewrite(folder / "module.toml", '["beta_dev.ipynb"]', '["beta_dev.ipynb", "more_dev.ipynb"]')
    rewrite(folder / "module.toml", "[[exercise]]", '[[exercise]]\nnotebook = "beta_dev.ipynb"')
    found = "\n".join(check("--no-mutants"))
    assert "`requires` lacks 01, which the module imports" in found
    assert "more_dev.ipynb: its points add up to 0, not 50" in found and "lacks 02" not in found


def test_a_test_that_the_scaffold_passes_and_one_that_the_solution_fails(course, check):
    course.module("01", "alpha", [("double", SOLVED, "print('anything goes')", 100)], hints=HINTS)
    found = "\n".join(check())
    assert "test_double passes on the untouched scaffold" in found
    assert "double, line 4: no test notices 2 * x -> (2 / x)" in found
    course.module("01", "alpha", [("triple", SOLVED.replace("double", "triple"), course.TEST_TRIPLE, 100)], hints=HINTS)
    assert "test_triple fails with its own solution" in "\n".join(check("--no-mutants"))


def test_cells_that_nbgrader_knows_keep_their_names(course, check):
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=course.root, check=True)
    assert check("--no-mutants") == []
    course.module("01", "alpha", [("twice", SOLVED, course.TEST_DOUBLE, 100)], hints=HINTS)
    found = "\n".join(check("--no-mutants"))
    assert "the cell double of HEAD is gone" in found and "the cell test_double of HEAD is gone" in found


@pytest.mark.parametrize(
    "text, commands",
    [
        ("Run `tito test 09 --json`, then go.", ["tito test 09 --json"]),
        ("```sh\ntito export --all\n```", ["tito export --all"]),
        ("Next: tito lab 09", ["tito lab 09"]),
        ("another tito is running; only tito finds it", []),
    ],
)
def test_commands_are_found_where_they_are_set_as_code(text, commands):
    assert [" ".join(words) for words in named_commands(text)] == commands


@pytest.mark.parametrize("line", ["tito milestone run 04 --data cifar10", "tito dev check --no-mutants", "tito -h"])
def test_lines_that_can_be_typed(line):
    assert unknown(line.split(), typer.main.get_command(app)) == ""


def test_words_are_counted_without_code_and_formulas():
    assert count_words("Two words: `x = 1` and $a^2 + b$\n```\ncode here\n```\nit's | --- |") == 4


def test_fmt_puts_a_notebook_that_jupyterlab_has_saved_in_order(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    path = toy.root / "modules/01_alpha/alpha_dev.ipynb"
    assert tito("dev", "fmt").code == 0
    before = path.read_bytes()
    assert "All notebooks are in order." in tito("dev", "fmt").out and path.read_bytes() == before
    nb = json.loads(before)
    for number, cell in enumerate(nb["cells"]):
        if cell["cell_type"] == "code":
            cell |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": ["hello"]}], "execution_count": 3}
        cell["metadata"] |= {"collapsed": False, "execution": {"iopub": "now"}}
        if "nbgrader" in cell["metadata"]:
            cell["id"] = f"{number:08x}"
    nb["metadata"]["language_info"] = {"name": "python", "version": "3.13.0"}
    path.write_text(json.dumps(nb), encoding="utf-8")
    assert "1 put in order." in tito("dev", "fmt").out and path.read_bytes() == before
