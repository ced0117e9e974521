"""Beyond one machine: the same grading as tasks of Dask distributed, on a course folder that all machines share.

A task is a pure function of plain data: the course's folder, the assignment's name, the rung, the limits, and the bytes
that were handed in. So a task whose machine is lost runs again elsewhere, and gives the same result.
"""

import atexit
from collections.abc import Iterator

from tito import CourseError
from tito.grading import grade
from tito.grading.plan import Assignment
from tito.grading.result import SubmissionResult

_ready: dict = {}


def grade_on_cluster(scheduler: str, assignment: Assignment, waiting: list) -> Iterator[SubmissionResult]:
    """The results of all submissions, as they come in."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise CourseError("--scheduler needs Dask: pip install 'tinytorch[scale]'") from None
    try:
        client = Client(scheduler, timeout=20, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise CourseError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    reference = {part.name: part.reference for part in assignment.parts}
    shared = (
        str(assignment.course.root),
        assignment.module.number,
        tuple(vars(assignment.rung).values()),
        assignment.limits,
        reference,
        assignment.digest,
    )
    with client:
        again = []
        futures = {
            client.submit(grade_task, *shared, student, files, pure=False, retries=2): (student, files)
            for student, files in waiting
        }
        for future in as_completed(list(futures), loop=client.loop):
            student, files = futures[future]
            try:
                result = future.result()
            except Exception as error:
                yield grade.failed_result(assignment, student, files, f"{type(error).__name__}: {error}"[:300])
            else:
                if "starved" in result:
                    again.append((student, files))
                else:
                    yield result
        for student, files in again:  # once more, one after the other, when nothing else runs
            try:
                yield client.submit(grade_task, *shared, student, files, alone=True, pure=False, retries=2).result()
            except Exception as error:
                yield grade.failed_result(assignment, student, files, f"{type(error).__name__}: {error}"[:300])


def grade_task(
    root: str,
    module: str,
    rung: tuple,
    limits: dict,
    reference: dict,
    digest: str,
    student: str,
    files: dict,
    alone: bool = False,
) -> SubmissionResult:
    """Grade one submission in a worker of the cluster, on the desk's rung; where that fails it is an infra_error."""
    import threading

    name = (root, module, rung, repr(sorted(limits.items())), digest)
    with _lock():
        assignment = _ready.get(name) or _prepare(name, root, module, rung, limits, reference)
    if assignment.digest != digest:
        raise CourseError("this machine's course, Python, NumPy or grader differ from those of the desk")
    here = threading.get_ident()
    if here not in _ready:
        _ready[here] = grade.Worker(len(_ready))
        atexit.register(_ready[here].stop)
    return grade.grade_submission(assignment, _ready[here], student, files, alone)


def _prepare(name: tuple, root: str, module: str, rung: tuple, limits: dict, reference: dict) -> Assignment:
    from tito.course.registry import Course
    from tito.grading.plan import prepare
    from tito.grading.sandbox import isolation

    course = Course.load(root)
    assignment = prepare(course, course.module(module), isolation.Rung(*rung), limits)
    for part in assignment.parts:
        part.reference.update(reference[part.name])
    _ready[name] = assignment
    return assignment


def _lock():
    import threading

    return _ready.setdefault("lock", threading.Lock())
