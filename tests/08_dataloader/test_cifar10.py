"""CIFAR-10's binary layout: reading, refusing, and the download against a server on this machine."""

import hashlib
import io
import os
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tinytorch.data.loader import CIFAR10, DataLoader, read_cifar_file

FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
NAMES = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]


class Small(CIFAR10):
    """The same layout with 20 records a file."""

    records = 20


def content(number, records=20):
    """One file: noise with few values (it compresses), labels 0 to 9."""
    table = np.random.default_rng(number).integers(0, 4, (records, 3073), dtype=np.uint8)
    table[:, 0] = (np.arange(records) + number) % 10
    return table.tobytes()


@pytest.fixture
def folder(tmp_path):
    """A complete small CIFAR-10."""
    place = tmp_path / FOLDER
    place.mkdir()
    for number, name in enumerate(NAMES):
        (place / name).write_bytes(content(number))
    return place


def packed(extra=(), skip=(), folder=FOLDER):
    """A .tar.gz of the six files; `extra` holds further (TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for number, name in enumerate(NAMES):
            if name not in skip:
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = 20 * 3073
                tar.addfile(member, io.BytesIO(content(number)))
        for member, data in extra:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves bytes on 127.0.0.1 and returns a dataset class that downloads them."""
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(sent, md5=None, announced=None, status=200):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent) if announced is None else announced))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{ARCHIVE}"
        return type("Served", (Small,), {"url": address, "md5": md5 or hashlib.md5(sent).hexdigest()})

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def everything(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def test_reads_images_and_labels(folder, tmp_path):
    train, test = Small(tmp_path), Small(tmp_path, train=False)
    assert train.images.shape == (100, 3, 32, 32) and train.images.dtype == np.uint8
    assert test.images.shape == (20, 3, 32, 32) and train.labels.dtype == np.int64
    table = np.frombuffer(b"".join(content(number) for number in range(5)), np.uint8).reshape(100, 3073)
    assert np.array_equal(train.labels, table[:, 0])
    assert np.array_equal(train.images.reshape(100, -1), table[:, 1:])
    assert np.array_equal(test.labels, (np.arange(20) + 5) % 10)
    assert train.classes[0] == "airplane" and train.classes[9] == "truck" and len(train.classes) == 10


def test_pixel_order(tmp_path):
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes(range(32)) * 32
    (tmp_path / "one.bin").write_bytes(record)
    images, labels = read_cifar_file(tmp_path / "one.bin")
    assert labels.tolist() == [7] and np.all(images[0, 0] == 1) and np.all(images[0, 1] == 2)
    assert np.array_equal(images[0, 2], np.tile(np.arange(32), (32, 1)))


def test_root_may_be_the_folder_itself(folder, tmp_path):
    assert Small(folder).folder == Small(str(tmp_path)).folder == folder
    other = tmp_path / "elsewhere"
    folder.rename(other)
    assert len(Small(other)) == 100


def test_goes_into_a_loader(folder):
    x, y = next(iter(DataLoader(Small(folder), batch_size=16)))
    assert x.shape == (16, 3, 32, 32) and x.dtype == np.float32 and y.numpy().tolist()[:3] == [0, 1, 2]


def test_published_size(tmp_path):
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content(0, 10_000))
    assert path.stat().st_size == 30_730_000
    assert len(CIFAR10(tmp_path, train=False)) == 10_000


def test_missing_files_are_all_named(folder):
    (folder / NAMES[1]).unlink()
    (folder / NAMES[3]).unlink()
    with pytest.raises(FileNotFoundError) as error:
        Small(folder)
    text = str(error.value)
    assert "data_batch_2.bin is missing" in text and "data_batch_4.bin is missing" in text
    assert "data_batch_1" not in text.split("download=True")[0]
    assert str(folder.parent / ARCHIVE) in text and "download=True" in text and "tito data fetch cifar10" in text
    assert len(Small(folder, train=False)) == 20  # the test part needs only its own file


SIZES = [(-1, "61,459"), (-3073, "58,387"), (3073, "64,533"), (5, "61,465"), (-61460, "0")]


@pytest.mark.parametrize("change, given", SIZES)
def test_wrong_sizes_are_named(folder, change, given):
    path = folder / NAMES[2]
    path.write_bytes((path.read_bytes() + bytes(max(change, 0)))[: 61460 + change])
    with pytest.raises(
        ValueError, match=rf"data_batch_3.bin: expected 61,460 bytes .20 records of 3,073., got {given}"
    ):
        Small(folder)


def test_wrong_label_is_named(folder):
    path = folder / NAMES[4]
    broken = bytearray(path.read_bytes())
    broken[13 * 3073] = 10
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"(?=.*data_batch_5\.bin)(?=.*\b10\b).*\b13\b"):
        Small(folder)


def test_single_file_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.bin is missing"):
        read_cifar_file(tmp_path / "none.bin")
    (tmp_path / "cut.bin").write_bytes(bytes(3072))
    with pytest.raises(ValueError, match="cut.bin: expected whole records of 3,073 bytes, got 3,072 bytes"):
        read_cifar_file(tmp_path / "cut.bin")


def test_download_whole(serve, tmp_path, capfd):
    served = serve(packed())
    data = served(tmp_path / "data", download=True)
    assert len(data) == 100 and np.array_equal(data.labels[:3], [0, 1, 2])
    assert everything(tmp_path / "data") == sorted([FOLDER, *(f"{FOLDER}/{name}" for name in NAMES)])
    assert capfd.readouterr() == ("", "")
    served.url = "http://127.0.0.1:9/none"  # complete now: no second download
    assert len(served(tmp_path / "data", train=False, download=True)) == 20


def test_one_byte_flipped_is_refused(serve, tmp_path):
    whole = packed()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    served = serve(bytes(flipped), md5=hashlib.md5(whole).hexdigest())
    with pytest.raises(RuntimeError, match="does not match the known hash: expected md5") as error:
        served(tmp_path, download=True)
    assert hashlib.md5(whole).hexdigest() in str(error.value) and hashlib.md5(flipped).hexdigest() in str(error.value)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("announced", [True, False])
def test_cut_short_is_refused(serve, tmp_path, announced):
    whole = packed()
    half = whole[: len(whole) // 2]
    served = serve(half, hashlib.md5(whole).hexdigest(), announced=len(whole) if announced else None)
    with pytest.raises(RuntimeError, match="could not be installed") as error:
        served(tmp_path, download=True)
    assert str(tmp_path / ARCHIVE) in str(error.value)
    assert everything(tmp_path) == []


def test_missing_page_is_explained(serve, tmp_path):
    with pytest.raises(RuntimeError, match="404"):
        serve(b"not here", status=404)(tmp_path, download=True)
    assert everything(tmp_path) == []


def test_offline_message_says_where_to_put_the_file(tmp_path, monkeypatch):
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    offline = type("Offline", (Small,), {"url": "http://127.0.0.1:9/archive"})
    with pytest.raises(RuntimeError) as error:
        offline(tmp_path, download=True)
    text = str(error.value)
    assert f"put it at\n    {tmp_path / ARCHIVE}" in text and str(tmp_path / FOLDER / NAMES[0]) in text
    assert everything(tmp_path) == []


def test_archive_brought_by_hand(tmp_path):
    pytest.importorskip("pooch", reason="pooch is not installed")
    archive = packed()
    (tmp_path / ARCHIVE).write_bytes(archive)
    by_hand = type("ByHand", (Small,), {"url": "http://127.0.0.1:9/none", "md5": hashlib.md5(archive).hexdigest()})
    assert len(by_hand(tmp_path, download=True)) == 100
    assert (tmp_path / ARCHIVE).read_bytes() == archive
    wrong = type("Wrong", (by_hand,), {"md5": "0" * 32})
    other = tmp_path / "other"
    other.mkdir()
    (other / ARCHIVE).write_bytes(archive)
    with pytest.raises(RuntimeError, match=f"{ARCHIVE} is not the published archive: expected md5 {'0' * 32}"):
        wrong(other, download=True)
    assert everything(other) == [ARCHIVE]  # a person's file is never deleted


def test_download_mends_a_broken_folder(serve, folder):
    (folder / NAMES[0]).write_bytes(b"cut")
    (folder / "notes.txt").write_text("mine")
    data = serve(packed())(folder, download=True)
    assert len(data) == 100 and (folder / "notes.txt").read_text() == "mine"
    assert everything(folder.parent) == sorted([FOLDER, f"{FOLDER}/notes.txt", *(f"{FOLDER}/{name}" for name in NAMES)])


def test_only_expected_members_are_unpacked(serve, tmp_path):
    link = tarfile.TarInfo(f"{FOLDER}/batches.meta.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    extra = [(tarfile.TarInfo("../escaped.bin"), b"x"), (tarfile.TarInfo(f"{FOLDER}/readme.html"), b"x"), (link, b"")]
    root = tmp_path / "root"
    serve(packed(extra))(root, download=True)
    assert everything(tmp_path) == sorted(["root", f"root/{FOLDER}", *(f"root/{FOLDER}/{name}" for name in NAMES)])


@pytest.mark.parametrize("archive", [packed(skip=["data_batch_3.bin"]), packed(folder="other"), b"no archive at all"])
def test_wrong_archives_install_nothing(serve, tmp_path, archive):
    with pytest.raises(RuntimeError, match="could not be installed"):
        serve(archive)(tmp_path, download=True)
    assert everything(tmp_path) == []


def test_download_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match="pip install pooch"):
        Small(tmp_path, download=True)
    assert everything(tmp_path) == []


def test_installed_files_can_be_read_by_others(serve, tmp_path):
    served = serve(packed())
    served(tmp_path, download=True)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o777 & ~mask
