"""CIFAR-10, fetched and unpacked: all six files or, if anything fails, none. Given, for Module 08.

Only the standard library is imported at import time; pooch, which downloads, when something is to be fetched.
"""

import gzip
import importlib
import shutil
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR_FOLDER, CIFAR_ARCHIVE = "cifar-10-batches-bin", CIFAR_URL.rpartition("/")[2]
CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST = ("test_batch.bin",)
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes: a label, then red, green and blue


def import_optional(module, package):
    """Import an optional module, or say which package holds it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs the package {package}, which is not installed: pip install {package}") from error


def cifar_fault(path, records=None):
    """Return what is wrong with the size of a CIFAR-10 file, in words, or None.

    records: how many records it must hold; None: any whole number from one on.
    """
    path = Path(path)
    if not path.is_file():
        return f"{path.name} is missing"
    size = path.stat().st_size
    if records is not None and size != records * CIFAR_RECORD:
        expected = f"{records * CIFAR_RECORD:,} bytes ({records:,} records of {CIFAR_RECORD:,})"
        return f"{path.name}: expected {expected}, got {size:,}"
    if size == 0 or size % CIFAR_RECORD:
        return f"{path.name}: expected whole records of {CIFAR_RECORD:,} bytes, got {size:,} bytes"
    return None


def download(url, md5, path):
    """Fetch `url` to `path`, tried once more if that fails; on a terminal a bar shows how far it is.

    Raises OSError if the network or the disk fails, ValueError if the checksum is not `md5`; nothing is kept then.
    """
    pooch = import_optional("pooch", "pooch[progress]")
    pooch.get_logger().setLevel("WARNING")
    path = Path(path)
    store = pooch.create(path.parent, "", registry={path.name: f"md5:{md5}"}, urls={path.name: url}, retry_if_failed=1)
    load = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 18, timeout=30)
    try:
        store.fetch(path.name, downloader=load)
    except OSError as error:
        inner = error
        while inner.__cause__ or inner.__context__:  # the first reason is the clearest
            inner = inner.__cause__ or inner.__context__
        raise OSError(f"{url} could not be loaded: {inner}") from error
    return path


def fetch_archive(url, md5, target, local):
    """Return the path of the archive: `local` if that exists, else `target`, downloaded. Its checksum must be `md5`."""
    if not Path(local).exists():
        return download(url, md5, target)
    given = import_optional("pooch", "pooch[progress]").file_hash(str(local), alg="md5")
    if given != md5:
        raise ValueError(f"{local} is not the published archive: expected md5 {md5}, got {given}")
    return Path(local)


def unpack(archive, folder, wanted, largest):
    """Write what a .tar.gz holds of `wanted`, its place there -> (name in `folder`, what makes the bytes, or None).

    Only plain files of at most `largest` bytes are written: no paths, links or surprises from the archive. It is read to
    its end, where its checksum stands; of a damaged one, OSError, EOFError or tarfile.TarError.
    """
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                place = member.name.removeprefix("./")
                if place not in wanted or not member.isfile() or member.size > largest:
                    continue
                name, read = wanted[place]
                with tar.extractfile(member) as source, open(folder / name, "wb") as target:
                    if read:
                        target.write(read(source))
                    else:
                        shutil.copyfileobj(source, target, 1 << 20)
            while stream.read(1 << 20):
                pass
    except zlib.error as error:
        raise tarfile.ReadError(str(error)) from error


def unpack_cifar(archive, folder, records):
    """Unpack the six files of CIFAR-10 from a .tar.gz into `folder`, nothing else, each checked for its size."""
    wanted = {f"{CIFAR_FOLDER}/{name}": (name, None) for name in CIFAR_TRAIN + CIFAR_TEST}
    unpack(archive, folder, wanted, records * CIFAR_RECORD)
    faults = [cifar_fault(folder / name, records) for name in CIFAR_TRAIN + CIFAR_TEST]
    if any(faults):
        raise ValueError(f"the archive {archive.name} is not complete: {'; '.join(filter(None, faults))}")


def install_cifar(folder, url, md5, records):
    """Download and unpack CIFAR-10 into `folder`: all six files or, if anything fails, none.

    An archive that already lies beside `folder` is used instead of a download.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    local = folder.parent / CIFAR_ARCHIVE
    options = {"prefix": ".cifar-10-", "dir": folder.parent, "ignore_cleanup_errors": True}
    with tempfile.TemporaryDirectory(**options) as temporary:
        fresh = Path(temporary) / CIFAR_FOLDER
        fresh.mkdir()
        try:
            unpack_cifar(fetch_archive(url, md5, Path(temporary) / CIFAR_ARCHIVE, local), fresh, records)
            if not folder.exists():
                fresh.rename(folder)
            else:  # some files were missing or broken: replace all six, so that they come from one source
                for path in fresh.iterdir():
                    path.replace(folder / path.name)
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            raise RuntimeError(f"CIFAR-10 could not be installed: {error}\n{cifar_advice(folder, url)}") from error


def cifar_advice(folder, url):
    """Say how CIFAR-10 gets to where it is expected."""
    return (
        f"In a course, `tito data fetch cifar10` loads it. Without a network: fetch {url} on another machine, put it at\n    {folder.parent / CIFAR_ARCHIVE}\n"
        f"and call CIFAR10(root, download=True), or unpack it so that this file exists:\n    {folder / CIFAR_TRAIN[0]}"
    )
