"""The commands that put the package to use: milestones, their data, predictions, benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from tito.cli.common import DataName, MilestoneName, ModuleName, open_course


def milestone_list() -> None:
    """Show the milestones."""
    from tito.cli.console import Console
    from tito.milestone import load_milestones, next_milestone, readiness

    course, console = open_course(), Console()
    milestones = load_milestones(course)
    states = readiness(course, milestones)
    console.milestones([(one, state.words) for one, state in zip(milestones, states, strict=True)])
    if milestones:
        console.next(next_milestone(course, milestones, states))


def info(milestone: MilestoneName) -> None:
    """Tell what a milestone is about and what it needs."""
    from tito.cli.console import Console
    from tito.milestone import find_milestone, readiness

    course, console = open_course(), Console()
    found = find_milestone(course, milestone)
    needed = ", ".join(module.folder for module in course.select(found.requires))
    console.say(f"{found.id} {found.title} ({found.year})\n\n{found.summary}\n")
    [state] = readiness(course, [found])
    console.say(f"It needs {needed}. It takes about {found.time}.")
    if state.missing:
        console.say(f"It still {state.words}.")
    console.next(state.command)


def run(
    milestone: MilestoneName,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Passed on to the script.")] = None,
) -> None:
    """Run a milestone with the course's package; ARGS go to its script."""
    from tito.milestone import find_milestone
    from tito.milestone import run_milestone as run_script

    course = open_course()
    raise typer.Exit(run_script(course, find_milestone(course, milestone), arguments or []))


def data_list() -> None:
    """Show the data sets, and which are there."""
    from tito import data
    from tito.cli.console import Console

    course, console = open_course(), Console()
    for source in data.SOURCES.values():
        console.say(f"{source.name}: {source.title} ({source.size})")
        console.say(data.describe(course, source), indent=2)
    console.say("digits: 1,797 handwritten digits of 8x8 pixels\n  come with scikit-learn")


def fetch(
    name: DataName,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="FILE|URL", help="An archive, a folder, or another address.")
    ] = None,
) -> None:
    """Load a data set from the network, or from an archive or folder."""
    from tito import data
    from tito.cli.console import Console

    course, console = open_course(), Console()
    found = data.fetch(course, data.find_source(name), origin, console.line)
    console.say(found.text)
    console.next(f"tito milestone run 04 --data {data.find_source(name).name}")


def verify(name: DataName = "cifar10") -> None:
    """Check a data set's files: are they whole, and the published ones?"""
    from tito import data
    from tito.cli.console import Console

    course, console = open_course(), Console()
    source = data.find_source(name)
    with console.working("Reading"):
        found = data.verify(course, source)
    console.say(found.text)
    if not found.usable:
        console.next(f"tito data fetch {source.name}")
        raise typer.Exit(1)


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG, of any size.")],
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="By default the best that milestone 04 has kept.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="NAME", help="digits or cifar10.")] = None,
) -> None:
    """Say what is on your own pictures, with the network that milestone 04 has trained."""
    from tito import milestone as milestones
    from tito.cli.console import Console

    course, console = open_course(), Console()
    failed = milestones.show_predictions(course, images, milestones.Request(data, weights), console)
    if failed:
        raise typer.Exit(1)


def bench(
    module: ModuleName,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="torch (by default, where it is installed), or a backend: windows."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="steps, memory, ...; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three rounds: rough figures.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure a module against PyTorch, or against another of its ways.

    The figures and a plot are kept under runs/bench.
    """
    from tito import bench as benchmark
    from tito.cli.console import Console

    course, console = open_course(), Console(as_json)
    found = benchmark.run_benchmark(course, course.module(module), benchmark.Request(against, only, quick), console)
    if as_json:
        print(benchmark.as_json(found))
