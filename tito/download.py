"""One file from the network: continued where it broke off, and kept only if its checksum is right.

pooch does the transfer through requests, which knows proxies and certificates.
"""

import hashlib
import sys
from pathlib import Path

from tito import CourseError
from tito.course.storage import replace

TRIES = 4  # in one command, as long as each brings something
BLOCK = 1 << 16  # bytes; at most so many are lost where a download breaks off


def download(url: str, md5: str, target: Path, keep: Path, advice: str) -> Path:
    """Fetch `url` to `target`. Until it is whole it is a .part in the folder `keep`; the next call goes on from there.

    CourseError, with `advice`, if the network fails; CourseError, with nothing kept, if the checksum is wrong.
    """
    part = keep / f"{target.name}.part"
    continued = _size(part) > 0
    _load(url, part, advice)
    if (given := _md5(part)) != md5 and continued:  # the rest was of another file than the beginning
        part.unlink()
        _load(url, part, advice)
        given = _md5(part)
    if given != md5:
        size = _size(part)
        part.unlink()
        raise CourseError(
            f"what {url} sent ({size:,} bytes) is not the published archive: its md5 is {given}, not {md5}. "
            "If you trust it, load it yourself, and give the file with --from FILE"
        )
    replace(part, target)
    return target


def _load(url: str, part: Path, advice: str) -> None:
    """Bring the part up to the whole, with a few tries."""
    from requests.exceptions import RequestException

    for number in range(TRIES):
        before = _size(part)
        try:
            return _transfer(url, part)
        except (RequestException, OSError) as error:
            response = getattr(error, "response", None)
            if response is not None and response.status_code == 416:  # there is nothing after the part's end
                if response.headers.get("Content-Range", "") == f"bytes */{before}":
                    return
                part.unlink()
            elif number == TRIES - 1 or _size(part) <= before:
                kept = f" {_size(part):,} bytes are kept." if _size(part) else ""
                if not kept:
                    part.unlink(missing_ok=True)
                raise CourseError(f"{url} could not be loaded: {_reason(error)}.{kept}\n{advice}") from error


def _reason(error: BaseException) -> str:
    """The innermost reason, without the addresses of objects."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error).rstrip(".") or type(error).__name__


def _transfer(url: str, part: Path) -> None:
    import pooch

    done = _size(part)
    with open(part, "ab") as file, _Progress(part.name.removesuffix(".part"), done) as progress:

        def answered(response, **options):
            if done and response.status_code == 200:  # the server does not continue: from the start, then
                file.truncate(0)
                progress.restart()

        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
        load = pooch.HTTPDownloader(
            progressbar=progress, chunk_size=BLOCK, headers=headers, hooks={"response": answered}, timeout=30
        )
        load(url, file, None)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


class _Progress:
    """A bar on a terminal, nothing elsewhere; has the methods and the `total` that pooch expects."""

    def __init__(self, name: str, done: int):
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
        self.done, self.task = done, self.bar.add_task(name, total=None, completed=done)

    def __enter__(self) -> "_Progress":
        self.bar.start()
        return self

    def __exit__(self, *error) -> None:
        self.bar.stop()

    def restart(self) -> None:
        """Nothing of before counts."""
        self.done = 0
        self.bar.update(self.task, completed=0)

    @property
    def total(self) -> int:
        """What is still to come, in bytes."""
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        self.bar.update(self.task, total=self.done + size)

    def update(self, size: int) -> None:
        """So many bytes more."""
        self.bar.advance(self.task, size)

    def reset(self) -> None:
        """pooch counts from zero again, to end on the whole."""
        self.bar.update(self.task, completed=self.done)

    def close(self) -> None:
        """The bar goes with the transfer."""
