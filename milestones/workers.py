"""Several processes train one network together, each on its share of every batch; MPI carries the gradients.

`--workers N` starts N processes here; `mpirun -n N python .../run.py` does the same on a cluster. Rank 0 speaks, tests
and writes; the others only help to train. Every process makes the whole augmented batch and takes its share, so that
together they see what one process would. Batch normalisation uses the statistics of the share; those kept are rank 0's.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from stage import BELOW, REACHED, STOPPED, UNUSABLE, Alone, UnusableError, joined, near

STARTED = "PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE"  # one of them is set where mpirun started this process
WINDOWS = os.name == "nt"
NEEDED = f"several workers need mpi4py and an MPI: pip install mpi4py {'impi-rt' if WINDOWS else 'mpich'}"


# Starting ---------------------------------------------------------------------------------------------------------


def started():
    """Whether mpirun has started this process."""
    return any(name in os.environ for name in STARTED)


def start(stage, count):
    """Start the same command in `count` processes and wait for them; returns the exit code."""
    beside = Path(sys.executable).parent, Path(sys.prefix) / "Library" / "bin"  # where the one from PyPI lies
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join(map(str, beside))) or shutil.which("mpiexec")
    if mpiexec is None or find_spec("mpi4py") is None:
        raise UnusableError(NEEDED)
    command = [mpiexec, "-n", str(count), sys.executable, str(stage.script), *sys.argv[1:]]
    began, quiet = time.time(), {**os.environ, "MPIR_CVAR_SUPPRESS_ABORT_MESSAGE": "1"}
    # A process group of its own: Ctrl-C reaches this process alone, which passes it on exactly once. Windows' console
    # tells every process by itself.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=quiet, **({} if WINDOWS else {"process_group": 0}))
    signal.signal(signal.SIGINT, lambda *_: None if WINDOWS else child.send_signal(signal.SIGINT))
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: child.send_signal(signal.SIGTERM))
    while (code := _wait(child)) is None:
        pass
    return code if code in (REACHED, BELOW, UNUSABLE, STOPPED) else _broken(stage, began)


def _wait(child):
    """Its exit code; None after a moment on Windows, where a wait is deaf to signals."""
    try:
        return child.wait(0.2 if WINDOWS else None)
    except subprocess.TimeoutExpired:
        return None


def _broken(stage, began):
    """Say that a worker has died, and how to go on from the last checkpoint."""
    kept = [file for file in stage.runs.glob("*.safetensors") if file.stat().st_mtime >= began]
    kept = max(kept, key=lambda file: file.stat().st_mtime, default=None)
    again = [part for part in sys.argv[1:] if part != "--resume"] + ["--resume"]
    how = f"The last checkpoint is kept: {near(kept)}. To go on:" if kept else "No epoch was finished. To try again:"
    print(f"{stage.folder}: a worker has died, so all were stopped. {how}", file=sys.stderr)
    print(f"  {stage.command()} {joined(again)}", file=sys.stderr)
    return UNUSABLE


def join():
    """The Crew of this process; for any but rank 0 that means silence, and leaving Ctrl-C to rank 0."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UnusableError(f"{NEEDED} ({error})") from error
    crew = Crew(MPI.COMM_WORLD)

    def fail(*error):
        sys.__excepthook__(*error)
        crew.leave(UNUSABLE)

    sys.excepthook = fail  # otherwise the others would wait for this process for ever
    if crew.rank:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return crew


# Working together -------------------------------------------------------------------------------------------------


class Crew(Alone):
    """The processes of one MPI communicator."""

    def __init__(self, comm):
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    def told(self, value=None):
        """What rank 0 gave here; the others wait for it."""
        return self.comm.bcast(value)

    def total(self, array):
        """The sum of every process's array, which it replaces."""
        self.comm.Allreduce(np.asarray(array).copy(), array)
        return array

    def mean(self, values, count):
        """{name: mean over all samples} from this process's means {name: number} over `count` samples."""
        sums = self.total(np.array([value * count for value in values.values()] + [count], float))
        return dict(zip(values, (sums[:-1] / sums[-1]).tolist(), strict=True))

    def add_gradients(self, parameters, fraction):
        """Make every gradient that of the whole batch: the sum of all, each weighted by its fraction of the batch."""
        ends = np.cumsum([0, *(p.size for p in parameters)])
        mine = np.empty(ends[-1], parameters[0].dtype)
        places = [(p, slice(*ends[at : at + 2])) for at, p in enumerate(parameters)]
        for p, place in places:
            np.multiply(0 if p.grad is None else p.grad, fraction, out=mine[place].reshape(p.shape))
        whole = np.empty_like(mine)
        self.comm.Allreduce(mine, whole)
        for p, place in places:
            p.grad = whole[place].reshape(p.shape)

    def leave(self, code):
        """End all processes, unless all get to the end by themselves."""
        if code not in (REACHED, BELOW):
            sys.stdout.flush()
            self.comm.Abort(code)

    def trainer(self, kind):
        """A Trainer like `kind`, but with this crew."""
        return together(kind, self)


class Shares:
    """A loader of which every process gets its share of each batch."""

    def __init__(self, loader, crew):
        self.loader, self.crew, self.seen, self.fraction = loader, crew, 0, 0.0

    def __len__(self):
        return len(self.loader)

    def set_epoch(self, epoch):
        self.loader.set_epoch(epoch)

    def __iter__(self):
        self.seen = 0
        for batch in self.loader:
            whole, (rank, size) = len(batch[0]), (self.crew.rank, self.crew.size)
            if whole < size:
                raise UnusableError(f"a batch of {whole} cannot be shared by {size} workers: take fewer")
            share = slice(whole * rank // size, whole * (rank + 1) // size)
            count = share.stop - share.start
            self.seen, self.fraction = self.seen + count, count / whole
            yield tuple(part[share] for part in batch)


def together(kind, crew):
    """The class `kind` of Trainer, changed so that the processes of the crew do what one would."""
    from tinytorch.core.training import History, restore, snapshot

    class Together(kind):
        def fit(self, train, test, **options):
            train, test = Shares(train, crew), Shares(test, crew)
            self.same_model()
            alone = self.optimizer.step

            def step():
                crew.add_gradients(self.optimizer.parameters, train.fraction)
                alone()

            self.optimizer.step = step
            try:
                return super().fit(train, test, **options)
            finally:
                self.optimizer.step = alone

        def same_model(self):
            self.model.load_state_dict(crew.told(self.model.state_dict()))

        def run_epoch(self, train, test, report):
            row = super().run_epoch(train, test, report)
            speed = row["images_per_second"] / train.seen * crew.total(np.array([float(train.seen)]))[0]
            return {**row, **crew.mean({"train_loss": row["train_loss"]}, train.seen), "images_per_second": speed}

        def evaluate(self, loader):
            self.same_model()  # running statistics are rank 0's
            return crew.mean(super().evaluate(loader), loader.seen)

        def save(self, path, batches):
            if crew.rank == 0:
                super().save(path, batches)

        def resume(self, path, batches=None):
            if crew.rank == 0:
                super().resume(path, batches)
            parts = self.model, self.optimizer, self.scheduler
            state, history = crew.told((snapshot(*parts), self.history))
            restore(state, *parts)
            self.history, self.kept = History(history), len(history)

    return Together
