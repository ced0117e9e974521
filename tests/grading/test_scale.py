"""Many machines, played by processes: the same grades as here, also when one of them is killed on the way."""

import os
import signal
import threading
import time

import pytest

from tito.grading.service import GradingService

NAME = "activations_dev.ipynb"


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_grades(course, submission):
    distributed = pytest.importorskip("distributed", reason="Dask distributed is not installed")
    desk, solved = GradingService(course), ((), ("relu",), "all", ("gelu", "softmax"))
    for number in range(24):
        submission(desk.settings["submitted"] / f"s{number:02d}/02_activations" / NAME, solved=solved[number % 4])
    bomb = "\nx = []\nwhile True: x.append(bytearray(1 << 24))\n"  # graded once more when all others have ended
    submission(desk.settings["submitted"] / "s24/02_activations" / NAME, changes={"relu": bomb})
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:

        def kill_one():
            time.sleep(4)
            with distributed.Client(cluster) as client:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        report = desk.grade_submissions(course.module("02"), scheduler=cluster.scheduler_address)
        killer.join()
    found = {row.student: row.score for row in report.rows}
    assert found == {f"s{n:02d}": (0, 10, 100, 40)[n % 4] for n in range(25)}
    desk.store(course.module("02")).folder.rename(course.root / "elsewhere")
    assert {row.student: row.score for row in desk.grade_submissions(course.module("02"), jobs=2).rows} == found
