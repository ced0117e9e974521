"""Which submissions share more than chance, by copydetect: a hint that a person looks into, never a mark.

Names of variables and comments do not count. What the release or the reference holds is nobody's own, and neither is
what many students write; of what is left, only long pieces count.
"""

import io
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Module
from tito.course.scaffold import released
from tito.grading.grade import students_in
from tito.grading.submissions import RejectedError, parse, read_below

SHORTEST, WINDOW = 25, 4  # characters of tokenized code in a fingerprint, and how many of them one stands for
USUAL = 0.05  # of the class: what more students write is usual (and never what three or fewer write)
LEAST = 100  # characters of tokenized code, some five lines, that a pair shares at least


@dataclass(frozen=True)
class Pair:
    """Two students, the characters of tokenized code that both have, its share of each one's own code, and where."""

    students: tuple[str, str]
    shared: int
    shares: tuple[float, float]
    cells: tuple[str, ...]


def pairs(settings: dict, module: Module) -> list[Pair]:
    """The pairs that share most, most first. CourseError if copydetect is missing or there are fewer than two."""
    try:
        from copydetect import CodeFingerprint, compare_files
        from copydetect.utils import get_token_coverage
    except ImportError:
        raise CourseError("comparing needs copydetect: pip install 'tinytorch[similar]'") from None
    submitted = settings["submitted"]
    students = students_in(submitted, module.folder)
    if len(students) < 2:
        raise CourseError(f"{len(students)} submissions of {module.folder} in {submitted}: there is nothing to compare")

    def fingerprint(text: str, window: int):
        return CodeFingerprint("cells.py", SHORTEST, window, language="python", fp=io.StringIO(text))

    given = set()
    for path in module.notebooks:
        cells = [cell for cell in notebook.read(path)["cells"] if cell["cell_type"] == "code"]
        for texts in ([released(cell) for cell in cells], [cell["source"] for cell in cells]):
            given |= fingerprint("\n".join(texts), 1).hashes
    found, places = {}, {}
    for student in students:
        places[student] = _code(submitted, student, module)
        one = fingerprint("".join(text for _, text in places[student]), WINDOW)
        one.hashes -= given
        found[student] = one
    count = Counter(hash for one in found.values() for hash in one.hashes)
    usual = {hash for hash, many in count.items() if many > max(3, USUAL * len(students))}
    for one in found.values():
        one.hashes -= usual
        one.hash_idx = {hash: one.hash_idx[hash] for hash in one.hashes}
        one.token_coverage = get_token_coverage(one.hash_idx, SHORTEST, len(one.filtered_code))
    made = []
    for first, second in combinations(students, 2):
        if not found[first].hashes.isdisjoint(found[second].hashes):
            shared, shares, slices = compare_files(found[first], found[second])
            where = _cells(places[first], slices[0])
            one, other = (min(float(share), 1.0) for share in shares)
            made.append(Pair((first, second), int(shared), (one, other), where))
    number = len(students) * (len(students) - 1) // 2
    amounts = sorted([pair.shared for pair in made] + [0] * (number - len(made)))
    chance = amounts[3 * number // 4] if number >= 20 else 0
    return sorted((pair for pair in made if pair.shared >= max(LEAST, 3 * chance)), key=lambda pair: -pair.shared)


def _code(submitted, student: str, module: Module) -> list[tuple[str, str]]:
    """(cell, code) of a student's notebooks."""
    found = []
    for path in module.notebooks:
        try:
            cells = parse(read_below(submitted, student, module.folder, path.name)).cells
        except RejectedError:
            continue
        found += [
            (cell.id if cell.graded else "a cell of their own", cell.source + "\n") for cell in cells if cell.code
        ]
    return found


def _cells(places: list[tuple[str, str]], slices) -> tuple[str, ...]:
    """The cells in which pieces of the text lie, the one with most first."""
    amounts: Counter[str] = Counter()
    start = 0
    for cell, text in places:
        end = start + len(text)
        for begin, stop in zip(*slices, strict=True):
            amounts[cell] += max(min(int(stop), end) - max(int(begin), start), 0)
        start = end
    return tuple(cell for cell, amount in amounts.most_common(3) if amount)
