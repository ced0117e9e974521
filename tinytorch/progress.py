"""What a training shows while it runs: a live bar in a terminal, a line per epoch elsewhere. Given, for Module 07."""

import contextlib
import os
import sys
import time


class NullReporter:
    """Counts steps and samples, shows nothing. `with` it around the run."""

    def __init__(self, epochs, batches, done=0):
        self.epochs, self.batches, self.done = epochs, batches, done
        self.step = self.seen = 0
        self.summed = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def batch(self, loss, size):
        """After each batch."""
        self.step, self.seen, self.summed = self.step + 1, self.seen + size, self.summed + loss * size

    def epoch(self, row):
        """After each epoch."""
        self.done, self.step, self.seen, self.summed = self.done + 1, 0, 0, 0.0
        self.on_epoch(row)

    def on_epoch(self, row):
        """Say what the history's new row holds."""

    def say(self, text):
        """A remark."""


class LineReporter(NullReporter):
    """One line per epoch."""

    def on_epoch(self, row):
        """Print the row of the history."""
        measured = [name for name in row if name.startswith(("train_", "test_"))]
        figures = "  ".join(f"{name.replace('_', ' ')} {row[name]:.4f}" for name in measured)
        self.say(
            f"epoch {row['epoch']:{len(str(self.epochs))}}/{self.epochs}  {figures}  lr {row['lr']:.4g}  "
            f"{row['seconds']:.1f} s  {row['images_per_second']:,.0f} images/s"
        )

    def say(self, text):
        """Print it now, not when the pipe is full."""
        print(text, flush=True)


class BarReporter(LineReporter):
    """A live bar over the run: epoch, batches, loss, images per second, time left. ImportError without Rich."""

    def __init__(self, epochs, batches, done=0):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__(epochs, batches, done)
        console, left = Console(highlight=False), TimeRemainingColumn(compact=True)
        texts = ["epoch {task.fields[epoch]}", "{task.fields[step]}", "loss {task.fields[loss]}"]
        texts += ["{task.fields[speed]} images/s"] if console.width >= 70 else []
        columns = TextColumn(texts[0]), BarColumn(None), *map(TextColumn, texts[1:]), left, TextColumn("left")
        self.bar = Progress(*columns, console=console, refresh_per_second=5, transient=True, expand=True)
        self.task = self.bar.add_task("", total=epochs * batches, epoch="", step="", loss="-", speed="-")
        self.shown, self.began = 0.0, time.perf_counter()

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *error):
        self.bar.stop()

    def batch(self, loss, size):
        """Ten times a second at most: drawing must not cost what it measures."""
        super().batch(loss, size)
        now = time.perf_counter()
        if now - self.shown > 0.1 or self.step == self.batches:
            self.bar.update(
                self.task,
                completed=self.done * self.batches + self.step,
                loss=f"{self.summed / self.seen:.4f}",
                epoch=f"{self.done + 1}/{self.epochs}",
                step=f"{self.step}/{self.batches}",
                speed=f"{self.seen / (now - self.began):,.0f}",
            )
            self.shown = now

    def epoch(self, row):
        """The next epoch's clock starts after the test."""
        super().epoch(row)
        self.began = time.perf_counter()

    def say(self, text):
        """Above the bar."""
        self.bar.console.print(text, markup=False, soft_wrap=True)


def reporter(progress, epochs, batches, done=0):
    """False: silent. True or None: a live bar in a terminal where Rich is installed, else a line per epoch.

    A function is called with each row of the history.
    """
    if progress is False or callable(progress):
        silent = NullReporter(epochs, batches, done)
        silent.on_epoch = progress or silent.on_epoch
        return silent
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        with contextlib.suppress(ImportError):
            return BarReporter(epochs, batches, done)
    return LineReporter(epochs, batches, done)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`. The text says what is kept and how to go on; a script prints it and exits with 130.

    `checkpoint`: the path, None if nothing was kept. `history`: the finished epochs.
    """

    def __init__(self, history, epochs, checkpoint, kept):
        self.history, self.checkpoint = history, str(checkpoint) if checkpoint and kept else None
        text = f"stopped in epoch {min(len(history) + 1, epochs)} of {epochs}; "
        if self.checkpoint:
            text += f"the first {kept} are kept in {checkpoint}: go on with the same call and resume=True"
        else:
            text += "nothing was kept"
            text += ", as no epoch was finished" if checkpoint else ": pass checkpoint=PATH to fit"
        super().__init__(text)
