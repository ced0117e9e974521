"""tito data: fetch from a server on this machine, refuse what is wrong, tell what it is."""

import hashlib
import io
import pickle
import shutil
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tito import CourseError, data, pickled

pytest.importorskip("pooch", reason="pooch is not installed")
RECORDS = 20
PLAIN = data.SOURCES["cifar10"]


def words(text):
    return " ".join(text.split())


def content(number):
    """One file: noise, which does not compress, and labels 0 to 9."""
    table = np.random.default_rng(number).integers(0, 256, (RECORDS, 3073), dtype=np.uint8)
    table[:, 0] = (np.arange(RECORDS) + number) % 10
    return table.tobytes()


FILES = {name: content(number) for number, name in enumerate(PLAIN.files)}


def packed(files, folder=PLAIN.folder, extra=()):
    """A .tar.gz of files in a folder; `extra` holds further (TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info, sent in [*((tarfile.TarInfo(f"{folder}/{name}"), sent) for name, sent in files.items()), *extra]:
            info.size = len(sent)
            tar.addfile(info, io.BytesIO(sent))
    return buffer.getvalue()


ARCHIVE = packed(FILES)


class Server(ThreadingHTTPServer):
    """Sends `sent`, and breaks off after `limits.pop(0)` bytes."""

    def __init__(self, sent):
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent, self.limits, self.asked = sent, [], []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/{PLAIN.archive}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.sent)))
        self.end_headers()
        self.wfile.write(server.sent[: server.limits.pop(0) if server.limits else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """serve(bytes, md5=None) -> a server, whose address and checksum are now CIFAR-10's."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(sent=ARCHIVE, md5=None):
        servers.append(Server(sent))
        known(monkeypatch, url=servers[-1].url, md5=md5 or hashlib.md5(sent).hexdigest())
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def known(monkeypatch, **changes):
    monkeypatch.setitem(data.SOURCES, "cifar10", replace(PLAIN, records=RECORDS, **changes))


@pytest.fixture
def small(monkeypatch):
    """CIFAR-10 with twenty pictures in a file, and nowhere to be loaded from."""
    known(monkeypatch, url="http://127.0.0.1:9/cifar-10-binary.tar.gz", md5="0" * 32)


def folder(toy):
    return toy.root / "data" / PLAIN.folder


def write_files(place, **changed):
    place.mkdir(parents=True)
    for name, sent in {**FILES, **changed}.items():
        (place / name).write_bytes(sent)
    return place


def there(toy):
    """Exactly the six files and the note are below data/."""
    found = {path.name: path for path in (toy.root / "data").rglob("*") if path.is_file()}
    return set(found) == {*FILES, data.NOTE} and all(found[name].read_bytes() == sent for name, sent in FILES.items())


def test_fetch_verify_and_fetch_again(toy, tito, serve):
    server = serve()
    done = tito("data", "fetch", "cifar10")
    assert (done.code, done.err) == (0, "") and there(toy)
    assert "Next: tito milestone run 04 --data cifar10" in done.out
    checked = tito("data", "verify")
    assert checked.code == 0 and "unpacked from the published archive" in words(checked.out)
    again = tito("data", "fetch", "cifar10")
    assert again.code == 0 and "there already" in again.out and len(server.asked) == 1


def test_a_download_that_breaks_off_is_tried_once_more_and_leaves_nothing(toy, tito, serve):
    server = serve()
    server.limits = [200_000, 100_000, 100_000]
    broken = tito("data", "fetch", "cifar10")
    assert broken.code == 1 and "could not be loaded" in broken.err and "--from cifar-10-binary.tar.gz" in broken.err
    assert list((toy.root / "data").iterdir()) == [] and len(server.asked) == 2
    assert tito("data", "fetch", "cifar10").code == 0 and there(toy) and len(server.asked) == 4


def test_a_full_disk_is_said(toy, tito, serve, monkeypatch):
    serve()
    monkeypatch.setattr(shutil, "move", lambda *given: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    done = tito("data", "fetch", "cifar10")
    assert done.code == 1 and "No space left on device" in done.err and list((toy.root / "data").iterdir()) == []


def test_other_bytes_than_the_published_ones_are_not_taken_from_the_network(toy, tito, serve):
    serve(md5="0" * 32)
    done = tito("data", "fetch", "cifar10")
    assert done.code == 1 and "is not the published archive" in done.err and "--from FILE" in done.err
    assert list((toy.root / "data").iterdir()) == []


def test_without_a_network_it_says_how_to_go_on(toy, tito, small):
    done = tito("data", "fetch", "cifar10")
    assert done.code == 1 and "could not be loaded" in done.err and "refused" in done.err
    assert "--from cifar-10-binary.tar.gz" in done.err and "HTTPS_PROXY" in done.err
    assert "Traceback" not in done.err and list((toy.root / "data").iterdir()) == []


def test_a_proxy_is_used(toy, tito, serve, monkeypatch):
    server = serve()
    known(monkeypatch, url=f"http://pictures.invalid/{PLAIN.archive}", md5=hashlib.md5(ARCHIVE).hexdigest())
    monkeypatch.setenv("http_proxy", server.url.rpartition("/")[0])
    assert tito("data", "fetch", "cifar10").code == 0 and there(toy)


def test_a_local_archive_is_the_published_one_or_it_is_said(toy, tito, serve, tmp_path):
    serve()
    other = packed({**FILES, "test_batch.bin": content(9)})
    for name, sent in (("right.tar.gz", ARCHIVE), ("other.tar.gz", other)):
        (tmp_path / name).write_bytes(sent)
    done = tito("data", "fetch", "cifar10", "--from", str(tmp_path / "other.tar.gz"))
    told = words(done.out)
    assert done.code == 0 and f"whose md5 is {hashlib.md5(other).hexdigest()}: not the published archive" in told
    for file in folder(toy).iterdir():
        file.unlink()
    done = tito("data", "fetch", "cifar10", "--from", str(tmp_path / "right.tar.gz"))
    assert done.code == 0 and "from the published archive" in words(done.out) and there(toy)


def test_a_folder_will_do(toy, tito, small, tmp_path):
    write_files(tmp_path / "elsewhere" / PLAIN.folder)
    done = tito("data", "fetch", "cifar10", "--from", str(tmp_path / "elsewhere"))
    assert done.code == 0 and there(toy) and "published bytes is unknown" in words(done.out)


def test_well_formed_files_are_not_called_published(toy, tito, small):
    write_files(folder(toy))
    done = tito("data", "verify", "cifar10")
    told = words(done.out)
    assert done.code == 0 and "Whether these are the published bytes is unknown" in told
    assert "All 10 classes have 12 pictures" in told and data.SOURCES["cifar10"].md5 not in told


def test_an_archive_beside_the_files_settles_it(toy, tito, serve):
    serve()
    place = write_files(folder(toy))
    (place.parent / PLAIN.archive).write_bytes(ARCHIVE)
    assert "every byte as in" in words(tito("data", "verify").out)
    (place / "test_batch.bin").write_bytes(content(9))
    done = tito("data", "verify")
    assert done.code == 1 and "but not the bytes of" in words(done.out)


def test_a_change_after_fetching_is_seen(toy, tito, serve):
    serve()
    tito("data", "fetch", "cifar10")
    with open(folder(toy) / "data_batch_3.bin", "r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))
    done = tito("data", "verify")
    assert done.code == 1 and "changed since they were fetched: data_batch_3.bin." in words(done.out)
    assert "Next: tito data fetch cifar10" in done.out
    assert tito("data", "fetch", "cifar10").code == 0 and there(toy)


@pytest.mark.parametrize(
    ("name", "sent", "said"),
    [
        ("data_batch_2.bin", None, "data_batch_2.bin is missing"),
        ("data_batch_4.bin", FILES["data_batch_4.bin"][:-1], "data_batch_4.bin has 61,459 bytes, not 61,460"),
        ("test_batch.bin", b"\x0a" + FILES["test_batch.bin"][1:], "test_batch.bin has the label 10"),
    ],
)
def test_broken_files_are_named(toy, tito, small, name, sent, said):
    place = write_files(folder(toy))
    if sent is None:
        (place / name).unlink()
    else:
        (place / name).write_bytes(sent)
    done = tito("data", "verify")
    assert done.code == 1 and said in words(done.out)


def test_an_archive_can_write_nothing_else(toy, tito, small, tmp_path):
    link = tarfile.TarInfo(f"{PLAIN.folder}/data_batch_1.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    extra = [(tarfile.TarInfo("../../escaped"), b"x"), (tarfile.TarInfo(f"{PLAIN.folder}/more.bin"), b"x"), (link, b"")]
    (tmp_path / "odd.tar.gz").write_bytes(packed(FILES, extra=extra))
    assert tito("data", "fetch", "cifar10", "--from", str(tmp_path / "odd.tar.gz")).code == 0 and there(toy)
    assert not list(tmp_path.rglob("escaped"))


def damaged(place):
    """The archive with another byte there, counted from its end."""
    return ARCHIVE[:-place] + bytes([ARCHIVE[-place] ^ 85]) + ARCHIVE[1 - place :]


@pytest.mark.parametrize(
    "sent",
    [
        b"no archive",
        ARCHIVE[: len(ARCHIVE) // 2],
        packed({"data_batch_1.bin": b"x"}),
        *(damaged(place) for place in (6, len(ARCHIVE) // 4, len(ARCHIVE) // 2, len(ARCHIVE) // 4 * 3)),
    ],
)
def test_a_bad_archive_leaves_nothing_behind(toy, tito, small, tmp_path, sent):
    (tmp_path / "bad.tar.gz").write_bytes(sent)
    done = tito("data", "fetch", "cifar10", "--from", str(tmp_path / "bad.tar.gz"))
    assert done.code == 1 and "bad.tar.gz" in done.err and "Traceback" not in done.err
    assert list((toy.root / "data").iterdir()) == []


def test_names_and_places_that_do_not_exist(toy, tito, small):
    done = tito("data", "fetch", "cifar")
    assert done.code == 1 and "did you mean cifar10" in done.err
    done = tito("data", "fetch", "cifar10", "--from", "nowhere.tar.gz")
    assert done.code == 1 and "there is no archive or folder nowhere.tar.gz" in done.err


def test_list_and_verify_before_anything_is_there(toy, tito, small):
    done = tito("data", "list")
    assert done.code == 0 and "tito data fetch cifar10" in done.out and "digits" in done.out
    done = tito("data", "verify")
    assert done.code == 1 and "not in" in done.out
    write_files(folder(toy))
    assert "tito data verify cifar10" in " ".join(tito("data", "list").out.split())


# The pickled form -------------------------------------------------------------------------------------------------


def batch(number):
    """A batch as Python 2 wrote it: byte strings in protocol 2, made by hand from what pickle offers."""
    table = np.frombuffer(content(number), np.uint8).reshape(RECORDS, 3073)
    pixels = table[:, 1:].tobytes()
    opcodes = [
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01",
        pickle.dumps((RECORDS, 3072), 2)[2:-1],
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T",
        len(pixels).to_bytes(4, "little") + pixels + b"tbU\x06labels",
        pickle.dumps([int(label) for label in table[:, 0]], 2)[2:-1] + b"u.",
    ]
    return b"".join(opcodes)


def test_the_hand_made_batch_is_what_numpy_reads():
    loaded = pickle.loads(batch(0), encoding="bytes")
    assert np.array_equal(loaded[b"data"], np.frombuffer(content(0), np.uint8).reshape(RECORDS, 3073)[:, 1:])


def test_the_pickled_archive_gives_the_same_files(toy, tito, small, tmp_path):
    files = {name.removesuffix(".bin"): batch(number) for number, name in enumerate(PLAIN.files)}
    (tmp_path / "python.tar.gz").write_bytes(packed(files, data.PICKLED))
    assert tito("data", "fetch", "cifar10", "--from", str(tmp_path / "python.tar.gz")).code == 0 and there(toy)


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "harmful",
    [
        pickle.dumps(Call(print, "harm")),
        pickle.dumps({b"data": Call(eval, "print('harm')"), b"labels": []}, 2),
        b"cos\nsystem\n(S'echo harm'\ntR.",
        pickle.dumps({"data": np.zeros((1, 3072)), "labels": [0]}, 2),
        pickle.dumps({"data": np.array([[print]], object), "labels": [0]}, 2),
        pickle.dumps([1, 2]),
        batch(0)[:-500],
        b"",
    ],
)
def test_a_pickle_of_anything_else_is_refused_and_runs_nothing(harmful, capfd):
    with pytest.raises(CourseError, match="data_batch_1 is no pickled batch of CIFAR-10"):
        pickled.read_batch(io.BytesIO(harmful), "data_batch_1")
    assert capfd.readouterr() == ("", "")
