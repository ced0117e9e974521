"""What schools' systems hand out is taken as it is, each file by its student, and what they take back is written."""

import csv
import io
import os
import pwd
import re
import struct
import time
import unicodedata
import zipfile
from datetime import datetime

import pytest

from tito import CourseError
from tito.grading import collecting, office, school, sources
from tito.grading.history import History
from tito.grading.marks import Mark
from tito.grading.roster import Person, Roster, read_roster, readable, student_id
from tito.grading.service import GradingService
from tito.grading.sheet import Sheet
from tito.grading.submissions import stamp_of

NAME = "activations_dev.ipynb"
ASSIGNMENT = "02_activations"
WHEN = (2026, 11, 3, 14, 30, 10)


@pytest.fixture
def desk(course):
    return GradingService(course)


@pytest.fixture(scope="session")
def book(submission, tmp_path_factory):
    """The function that makes the bytes of a submission; another number, another text."""
    folder, made = tmp_path_factory.mktemp("books"), {}

    def make(number=0, module=ASSIGNMENT):
        if (number, module) not in made:
            own = f"answer = {number}"
            made[number, module] = submission(folder / f"{module}{number}.ipynb", module=module, own=own).read_bytes()
        return made[number, module]

    return make


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def packed(files, form="utf-8", when=WHEN):
    """A zip archive; `form`: how names are written (utf-8, flagless utf-8, cp437)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            member = Member(name, when)
            member.form = form
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return out.getvalue()


class Member(zipfile.ZipInfo):
    form = "utf-8"

    def _encodeFilenameFlags(self):
        if self.form == "utf-8":
            return super()._encodeFilenameFlags()
        return self.filename.encode("utf-8" if self.form == "flagless" else self.form), self.flag_bits


def lay(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def download(tmp_path, files, how):
    """The same download as a zip, or unpacked."""
    if how == "zip":
        (tmp_path / "submissions.zip").write_bytes(packed(files))
        return str(tmp_path / "submissions.zip")
    return str(lay(tmp_path / "submissions", files))


def collect(desk, *given, roster=None, module="02", **options):
    return office.collect(desk, desk.course.module(module), [str(one) for one in given], roster, **options)


def taken(found):
    return sorted((one.student, one.what) for one in found.files if one.what in collecting.TAKEN)


def untaken(found):
    return {one.path: (one.what, one.reason) for one in found.files if one.what not in collecting.TAKEN}


def content(desk, student, name=NAME):
    return (desk.settings["submitted"] / student / ASSIGNMENT / name).read_bytes()


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Homework (77),Final Score
    Points Possible,,,,,100,(read only)
"Müller, José",501,u501,jmueller,S1,,
"李, 雷",502,u502,lei.li,S1,,
"O'Hara, Ann-Marie",503,u503,aohara,S1,,
"Müller, José",504,u504,jmueller2,S2,,
"Quiet, Quentin",505,u505,qquiet,S2,,
"Student, Test",999,,abcdef,S1,,
"""
MOODLE = """Identifier,Full name,ID number,Email address,Status,Grade,Maximum Grade,Grade can be changed,Last modified (submission),Last modified (grade),Feedback comments
Participant 657701,José Müller,1001,jm@uni.example,Submitted for grading,,100.00,Yes,"Wednesday, 4 November 2026, 9:05 PM",-,
Participant 657702,李雷,1002,li@uni.example,Submitted for grading,,100.00,Yes,"Tuesday, 3 November 2026, 8:00 AM",-,
Participant 657703,Ann-Marie O'Hara,1003,ao@uni.example,No submission,,100.00,Yes,-,-,
"""  # noqa: E501
GRADESCOPE = """First Name,Last Name,SID,Email,Sections
José,Müller,0501,jm@uni.example,A
雷,李,0502,li@uni.example,A
Quentin,Quiet,0503,qq@uni.example,B
"""
METADATA = """---
submission_9001:
  :submitters:
  - :name: José Müller
    :sid: '0501'
    :email: jm@uni.example
  - :name: 雷 李
    :sid: 0502
    :email: li@uni.example
  :created_at: 2026-11-03 13:16:26.123456789 -06:00
  :score: 0.0
  :status: processed
  :history:
  - :id: 1
submission_9002:
  :submitters:
  - :name: Quentin Quiet
    :sid:
    :email: QQ@uni.example
  :created_at: !ruby/object:Time 2026-11-03 19:16:26 Z
"""


# Canvas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["zip", "folder"])
def test_canvas_with_a_roster(desk, book, tmp_path, how):
    files = {
        f"müllerjosé_501_81_{NAME}": book(1),
        "müllerjosé_LATE_504_82_activations_dev-1.ipynb": book(2),
        "李雷_502_83_activations_dev-Copy1.ipynb": book(3),
        "oharaannmarie_503_84_my work (1).zip": packed({f"ohara/02_activations/{NAME}": book(4)}),
        "oharaannmarie_503_85_text.html": b"<p>done</p>",
        "strangerdan_777_86_activations_dev.ipynb": book(5),
    }
    found = collect(desk, download(tmp_path, files, how), roster=write(tmp_path / "grades.csv", "\ufeff" + CANVAS))
    assert taken(found) == [(id, "new") for id in ("aohara", "jmueller", "jmueller2", "lei.li")]
    assert [content(desk, id) for id in ("jmueller", "jmueller2", "lei.li", "aohara")] == [
        book(n) for n in (1, 2, 3, 4)
    ]
    lost = untaken(found)
    assert lost["strangerdan_777_86_activations_dev.ipynb"][0] == "unknown" and "roster" in str(lost)
    assert lost["oharaannmarie_503_85_text.html"] == ("other", "text that was typed in, no notebook")
    assert History(desk.folder, ASSIGNMENT, "jmueller2").in_place()[0].late is True
    rows = {row["student"]: row for row in office.presence(desk, desk.course.module("02"), office.roster(desk))}
    assert rows["qquiet"]["handed_in"] is None and rows["jmueller2"]["late_mark"] and len(rows) == 5
    said = [("strangerdan_777_86_activations_dev.ipynb", "Quentin Quiet")]
    assert ("qquiet", "new") in taken(collect(desk, download(tmp_path, files, how), said=said)), "the roster is kept"


def test_canvas_without_a_roster_keeps_the_number_and_never_guesses(desk, book, tmp_path):
    files = {f"müllerjosé_501_81_{NAME}": book(1), f"müllerjosé_504_82_{NAME}": book(2), f"李雷_502_83_{NAME}": book(3)}
    found = collect(desk, download(tmp_path, files, "zip"))
    assert taken(found) == [("李雷", "new")] and len(found.open) == 2 and "several students" in found.open[0].reason
    assert office.roster(desk).people["李雷"].lms == "502"
    other = tmp_path / "later"
    found = collect(desk, lay(other, {f"李雷_599_90_{NAME}": book(4), f"x_1_2_{NAME}": book(5)}))
    assert taken(found) == [("x", "new")] and content(desk, "李雷") == book(3)


def test_a_name_with_digits_is_read_by_the_roster(desk, book, tmp_path):
    """Whoever calls herself like somebody else's numbers gets nobody else's place."""
    files = {f"x_501_9_503_84_{NAME}": book(1), f"y_502_83_hw_504_7_{NAME}": book(2)}
    found = collect(desk, download(tmp_path, files, "zip"), roster=write(tmp_path / "r.csv", CANVAS))
    assert taken(found) == [] and {one.what for one in found.open} == {"unknown"}
    files = {f"李雷_502_83_hw_504_7_{NAME}": book(2), f"oharaannmarie_503_81_{NAME}": book(3)}
    found = collect(desk, download(tmp_path, files, "zip"))
    assert taken(found) == [("aohara", "new"), ("lei.li", "new")]


def test_anonymous_canvas(desk, book, tmp_path):
    files = {f"anon_a1B2c_81_{NAME}": book(1), "LATE_anon_Zz9_82_activations_dev-3.ipynb": book(2)}
    found = collect(desk, download(tmp_path, files, "zip"))
    assert taken(found) == [("anon_Zz9", "new"), ("anon_a1B2c", "new")]
    assert History(desk.folder, ASSIGNMENT, "anon_Zz9").in_place()[0].late is True


def test_the_newest_of_several_counts_and_none_is_lost(desk, book, tmp_path):
    files = {
        f"doejane_7_90_{NAME}": book(1),
        "doejane_7_92_activations_dev-2.ipynb": book(3),
        "doejane_7_91_activations_dev-1.ipynb": book(2),
    }
    found = collect(desk, download(tmp_path, files, "zip"))
    assert taken(found) == [("doejane", "new"), ("doejane", "older"), ("doejane", "older")]
    assert content(desk, "doejane") == book(3)
    again = lay(tmp_path / "again", {f"doejane_7_88_{NAME}": book(4)})
    os.utime(again / f"doejane_7_88_{NAME}", (2e9, 2e9))
    assert taken(collect(desk, again)) == [("doejane", "older")] and content(desk, "doejane") == book(3)
    assert len(History(desk.folder, ASSIGNMENT, "doejane").versions) == 4
    assert taken(collect(desk, again, replace=True)) == [("doejane", "changed")] and content(desk, "doejane") == book(4)


def test_canvas_where_no_letter_of_a_name_is_left(desk, book, tmp_path):
    files = {f"_501_81_{NAME}": book(1), f"_LATE_502_82_{NAME}": book(2)}
    assert taken(collect(desk, lay(tmp_path / "a", files))) == [("501", "new"), ("502", "new")]
    found = collect(desk, lay(tmp_path / "b", files), roster=write(tmp_path / "r.csv", CANVAS))
    assert taken(found) == [("501", "same"), ("502", "same")], "an id stays"


def test_one_folder_alone_is_a_student_s_whatever_lies_in_it(desk, book, tmp_path):
    assert taken(collect(desk, lay(tmp_path / "late", {f"eve/ada_12_34_{NAME}": book(1)}))) == [("eve", "new")]
    files = {f"submissions/ada_12_34_{NAME}": book(2)}
    assert taken(collect(desk, lay(tmp_path / "one", files))) == [("ada", "new")]


def test_canvas_says_late_and_not_by_how_much(desk, book, tmp_path):
    due = datetime(2026, 11, 1, 12)
    files = {f"a_1_2_{NAME}": book(1), f"b_LATE_3_4_{NAME}": book(2)}
    found = collect(desk, download(tmp_path, files, "zip"))
    assert any("LATE" in note for note in found.notes)
    from tito.grading.history import on_time

    late = {s: (on_time(desk.folder, ASSIGNMENT, s, datetime(2026, 11, 3), due) > due) for s in ("a", "b")}
    assert late == {"a": False, "b": True}, "the time of the download counts against nobody"


# Moodle ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["zip", "folder"])
@pytest.mark.parametrize(
    "form", ["{}_assignsubmission_file_/{}", "{}_assignsubmission_file/{}", "{}_assignsubmission_file_{}"]
)
def test_moodle(desk, book, tmp_path, how, form, berlin):
    files = {
        form.format("José Müller_657701", NAME): book(1),
        form.format("李雷_657702", "work.zip"): packed({"a/" + NAME: book(2), "a/b.zip": packed({"notes.txt": b"x"})}),
        form.format("Ann-Marie O'Hara_657703", "activations_dev (1).ipynb"): book(3),
        form.format("Eve_657709", f"Ann-Marie O'Hara_657703_assignsubmission_file_{NAME}"): book(4),
        "José Müller_657701_assignsubmission_onlinetext_/onlinetext.html": b"<p>see file</p>",
    }
    found = collect(desk, download(tmp_path, files, how), roster=write(tmp_path / "grades.csv", MOODLE, "utf-8-sig"))
    assert taken(found) == [("1001", "new"), ("1002", "new"), ("1003", "new")]
    assert [content(desk, id) for id in ("1001", "1002", "1003")] == [book(n) for n in (1, 2, 3)]
    assert [one.path for one in found.open] == [
        form.format("Eve_657709", f"Ann-Marie O'Hara_657703_assignsubmission_file_{NAME}")
    ]
    assert stamp_of(desk.settings["submitted"], "1001", ASSIGNMENT) == datetime(2026, 11, 4, 20, 5)


def test_moodle_without_a_roster_goes_by_the_name_or_the_hidden_number(desk, book, tmp_path):
    one = {f"Zoë van Dijk_12_assignsubmission_file_/{NAME}": book(1), f"李雷_13_assignsubmission_file_/{NAME}": book(2)}
    assert taken(collect(desk, download(tmp_path, one, "zip"))) == [("Zoë~20van~20Dijk", "new"), ("李雷", "new")]
    hidden = {f"Participant_{n}_assignsubmission_file_/{NAME}": book(n) for n in (31, 32)}
    assert taken(collect(desk, lay(tmp_path / "h", hidden))) == [("participant-31", "new"), ("participant-32", "new")]
    twice = {f"Jo Li_{n}_assignsubmission_file_/{NAME}": book(n) for n in (41, 42)}
    found = collect(desk, lay(tmp_path / "t", twice))
    assert not found.took and len(found.open) == 2 and "several students" in found.open[0].reason


@pytest.mark.parametrize("form", ["flagless", "cp437", "latin-1", "nfd"])
def test_names_in_old_archives(desk, book, tmp_path, form):
    name = f"Zoë Müller_12_assignsubmission_file_/{NAME}"
    name = unicodedata.normalize("NFD", name) if form == "nfd" else name
    (tmp_path / "in.zip").write_bytes(packed({name: book(1)}, "utf-8" if form == "nfd" else form))
    assert taken(collect(desk, tmp_path / "in.zip")) == [("Zoë~20Müller", "new")]
    assert readable("Zoë~20Müller") == "Zoë Müller"


# Gradescope -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["zip", "folder"])
def test_gradescope_with_group_work(desk, book, tmp_path, how):
    files = {
        "assignment_4_export/submission_metadata.yml": METADATA.encode(),
        f"assignment_4_export/submission_9001/{NAME}": book(1),
        f"assignment_4_export/submission_9002/src/{NAME}": book(2),
        f"assignment_4_export/submission_9003/{NAME}": book(3),
    }
    found = collect(desk, download(tmp_path, files, how), roster=write(tmp_path / "r.csv", GRADESCOPE))
    assert taken(found) == [("0501", "new"), ("0502", "new"), ("0503", "new")]
    assert content(desk, "0501") == content(desk, "0502") == book(1) and content(desk, "0503") == book(2)
    assert stamp_of(desk.settings["submitted"], "0501", ASSIGNMENT) == datetime(2026, 11, 3, 19, 16, 26, 123456)
    assert stamp_of(desk.settings["submitted"], "0503", ASSIGNMENT) == datetime(2026, 11, 3, 19, 16, 26)
    assert [one.path for one in found.open] == [f"submission_9003/{NAME}"]
    assert History(desk.folder, ASSIGNMENT, "0501").versions[0].group == ["0501", "0502"]


def test_gradescope_without_a_roster(desk, book, tmp_path):
    files = {"submission_metadata.yml": METADATA.encode(), f"submission_9002/{NAME}": book(2)}
    assert taken(collect(desk, download(tmp_path, files, "folder"))) == [("QQ@uni.example", "new")]
    lay(tmp_path / "bad", {"submission_metadata.yml": b"a: [", f"submission_9002/{NAME}": book(2)})
    with pytest.raises(CourseError, match="submission_metadata.yml cannot be read"):
        collect(desk, tmp_path / "bad")


# nbgrader and plain folders -------------------------------------------------------------------------------------


def test_folders_of_several_shapes(desk, book, tmp_path):
    files = {f"ann/{NAME}": book(1), f"bob/02_activations/{NAME}": book(2), "cy.ipynb": book(3), f"dee_{NAME}": book(4)}
    files |= {f"{NAME[:-6]}_fay.ipynb": book(5), "ann/evil.py": b"import os", "Gil Ño/deep/er/x.ipynb": book(6)}
    source = lay(tmp_path / "in", files)
    (source / "eve").mkdir()
    (source / "eve" / NAME).symlink_to("/etc/passwd")
    expected = [(name, "new") for name in ("Gil~20Ño", "ann", "bob", "cy", "dee", "fay")]
    found = collect(desk, source)
    assert taken(found) == expected and untaken(found)[f"eve/{NAME}"][0] == "refused"
    assert {what for _, what in taken(collect(desk, source))} == {"same"}
    inside = {path.name for path in (desk.settings["submitted"] / "ann" / ASSIGNMENT).iterdir()}
    assert inside == {NAME, "timestamp.txt"}


@pytest.mark.parametrize("how", ["zip", "folder"])
def test_nobody_hands_in_for_somebody_else(desk, book, tmp_path, how):
    files = {f"bob/ada/{NAME}": book(1), f"eve/ada_12_34_{NAME}": book(2)}
    files |= {
        f"mal/Ada_5_assignsubmission_file_/{NAME}": book(3),
        f"oz/ada+02_activations+2026-01-01 00:00:00 UTC/{NAME}": book(4),
    }
    assert taken(collect(desk, download(tmp_path, files, how))) == [
        (name, "new") for name in ("bob", "eve", "mal", "oz")
    ]


@pytest.mark.parametrize(
    "name", [f"activations_dev{copy}" for copy in ("-Copy1", " (1)", "-1", "(2)", " - Copy")] + ["hw2"]
)
def test_renamed_notebooks_are_known_by_their_cells(desk, book, tmp_path, name):
    files = {f"ada/{name}.ipynb": book(1), f"ben/{NAME}": book(2), f"cy/{name}.ipynb.txt": book(3), "dan/x.7z": b"7z"}
    found = collect(desk, lay(tmp_path / "in", files))
    assert taken(found) == [("ada", "new"), ("ben", "new"), ("cy", "new")] and "unpack it" in found.open[0].reason
    assert content(desk, "ada") == book(1)


def test_a_notebook_of_nobody_and_of_another_module_is_listed(desk, book, tmp_path, grade):
    files = {"activations_dev-Copy1.ipynb": book(1), "ada/tensor_dev.ipynb": book(1, "01_tensor"), "ben/x.ipynb": b"{}"}
    files |= {f"ada/.ipynb_checkpoints/{NAME}": book(2), f"__MACOSX/ada/._{NAME}": b"\0\5"}
    found = collect(desk, lay(tmp_path / "in", files))
    lost = untaken(found)
    assert not found.took and set(lost) == set(files)
    assert "tensor_dev.ipynb of 01_tensor" in lost["ada/tensor_dev.ipynb"][1]
    assert "neither a folder nor its name" in lost["activations_dev-Copy1.ipynb"][1]
    code, out, err = grade("collect", "02", str(tmp_path / "in"))
    assert code == 1 and all(name in out for name in files) and "--as activations_dev-Copy1.ipynb=STUDENT" in out, err
    code, out, err = grade("collect", "02", str(tmp_path / "in"), "--as", "activations_dev-Copy1.ipynb=zoe")
    assert "1 new" in out and content(desk, "zoe") == book(1), err


def test_what_is_no_notebook_inside_is_said_and_the_others_are_taken(desk, book, tmp_path, grade):
    """Called like the notebook, it was handed in: it is kept, and a person hears at once that it earns nothing."""
    files = {f"ada/{NAME}": b"%PDF-1.7", f"ben/{NAME}": book(2), f"cleo/{NAME}": b'{"nbformat": 3, "worksheets": []}'}
    code, out, err = grade("collect", "02", str(lay(tmp_path / "in", files)))
    said = " ".join(out.split())
    assert code == 1 and "3 new" in said and content(desk, "ben") == book(2), err
    assert f"CANNOT BE GRADED: ada, ada/{NAME}: it is not a notebook: the file is not JSON" in said
    assert f"CANNOT BE GRADED: cleo, cleo/{NAME}: it is not a notebook of format 4" in said and "ben/" not in said
    assert content(desk, "ada") == b"%PDF-1.7"
    mended = lay(tmp_path / "again", {f"ada/{NAME}": book(1), f"cleo/{NAME}": book(3)})
    code, out, err = grade("collect", "02", str(mended))
    assert code == 0 and "2 changed" in out and "CANNOT" not in out, err


def test_a_whole_workspace_in_a_zip(desk, book, tmp_path):
    """A student packs everything: the module's notebook is taken, with the time that tito submit wrote."""
    own = {
        f"ada/modules/02_activations/{NAME}": book(1),
        "ada/modules/01_tensor/tensor_dev.ipynb": book(1, "01_tensor"),
        f"ada/.tito/scaffolds/{NAME}": book(2),
        "ada/modules/02_activations/timestamp.txt": b"2026-11-05 01:02:03 UTC\n",
    }
    (tmp_path / "ada.zip").write_bytes(packed(own))
    lay(
        tmp_path / "in",
        {"ada.zip": packed(own), f"ben/{NAME}": book(3), "ben/timestamp.txt": b"2026-11-05 10:00:00.5 +0100"},
    )
    assert taken(collect(desk, tmp_path / "in")) == [("ada", "new"), ("ben", "new")]
    assert content(desk, "ada") == book(1)
    assert stamp_of(desk.settings["submitted"], "ada", ASSIGNMENT) == datetime(2026, 11, 5, 1, 2, 3)
    assert stamp_of(desk.settings["submitted"], "ben", ASSIGNMENT) == datetime(2026, 11, 5, 9, 0, 0, 500000)


@pytest.mark.parametrize("wrapper", ["class/", "class/02_activations/", "02_activations/", ""])
def test_a_folder_around_the_class(desk, book, tmp_path, wrapper):
    files = {f"{wrapper}ada/{NAME}": book(1), f"{wrapper}ben/02_activations/{NAME}": book(2)}
    assert taken(collect(desk, download(tmp_path, files, "zip"))) == [("ada", "new"), ("ben", "new")]


def test_a_pattern_says_whose(desk, book, tmp_path):
    files = {f"hw_{NAME[:-6]}_ada_attempt_2026-11-05.ipynb": book(1), "ben.ipynb": book(2)}
    pattern = r".*_(?P<student_id>\w+)_attempt_(?P<timestamp>[0-9-]+)(?P<file_id>.*)"
    found = collect(desk, lay(tmp_path / "in", files), pattern=pattern)
    assert taken(found) == [("ada", "new")] and "pattern" in untaken(found)["ben.ipynb"][1]
    for wrong, words in (("(", "no regular expression"), ("x", "no group")):
        with pytest.raises(CourseError, match=words):
            collect(desk, tmp_path / "in", pattern=wrong)


def test_archives_are_not_believed(desk, book, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (f"ann/{NAME}", f"../../up/{NAME}", f"/root/{NAME}", f"b b/{NAME}"):
            archive.writestr(name, book(1))
        archive.writestr(f"bomb/{NAME}", bytes(50 << 20))
        archive.writestr("nest/a.zip", packed({"b.zip": packed({"c.zip": packed({"d.zip": packed({NAME: book(1)})})})}))
        archive.writestr("many/a.zip", packed({f"{n}.txt": b"" for n in range(30)}))
        archive.writestr("cut/a.zip", packed({NAME: book(1)})[:-40])
        link = zipfile.ZipInfo(f"link/{NAME}")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    monkeypatch.setattr(sources, "MOST_INNER", 20)
    found = collect(desk, tmp_path / "in.zip")
    assert taken(found) == [("ann", "new"), ("b~20b", "new")]
    assert {one.student for one in found.open} == {"~5F", "root", "bomb", "nest", "many", "cut", "link"}
    assert sorted(path.name for path in desk.settings["submitted"].iterdir()) == ["ann", "b~20b"]
    monkeypatch.setattr(sources, "MOST_MEMBERS", 3)
    with pytest.raises(CourseError, match="no set of submissions"):
        collect(desk, tmp_path / "in.zip")


def test_the_time_of_a_zip_is_local_and_said(desk, book, tmp_path, berlin):
    (tmp_path / "in.zip").write_bytes(packed({f"ada/{NAME}": book(1), f"ben/{NAME}": book(2)}))
    found = collect(desk, tmp_path / "in.zip")
    assert stamp_of(desk.settings["submitted"], "ada", ASSIGNMENT) == datetime(2026, 11, 3, 13, 30, 10)
    assert any("no zone" in note and "CET" in note for note in found.notes)
    member = zipfile.ZipInfo(f"cleo/{NAME}", WHEN)
    member.extra = struct.pack("<HHBI", 0x5455, 5, 1, 1762000000)
    with zipfile.ZipFile(tmp_path / "utc.zip", "w") as archive:
        archive.writestr(member, book(3))
        archive.writestr(f"dan/{NAME}", book(4))
    collect(desk, tmp_path / "utc.zip")
    assert stamp_of(desk.settings["submitted"], "cleo", ASSIGNMENT) == datetime(2025, 11, 1, 12, 26, 40)


def test_the_exchange(desk, book, tmp_path):
    """nbgrader's own layout; a folder that belongs to somebody else than it says is refused; all are kept."""
    me, inbound = pwd.getpwuid(os.geteuid()).pw_name, tmp_path / "exchange/tinytorch/inbound"
    with pytest.raises(CourseError, match="no exchange at"):
        collect(desk, "exchange")
    config = desk.course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + f"c.Exchange.root = {str(tmp_path / 'exchange')!r}\n")
    desk = GradingService(desk.course)
    first, second, third = (f"2026-11-0{day} 12:00:00.{day:06} UTC" for day in (1, 2, 3))
    secret = {"submission_secret.txt": b"ab" * 64, "timestamp.txt": second.encode()}
    lay(inbound / f"{me}+02_activations+{second}+a2b", {NAME: book(2), **secret})
    lay(inbound / f"{me}+02_activations+{first}+x1y", {NAME: book(1)})
    lay(inbound / f"{me}+01_tensor+{third}+a2b", {NAME: book(4)})
    lay(inbound / f"eve+02_activations+{first}+zzz", {NAME: book(5)})
    (inbound / "rubbish+02_activations").mkdir()
    found = collect(desk, "exchange")
    assert taken(found) == [(me, "new"), (me, "older")] and found.open[0].student == "eve"
    assert content(desk, me) == book(2)
    assert stamp_of(desk.settings["submitted"], me, ASSIGNMENT) == datetime(2026, 11, 2, 12, 0, 0, 2)
    assert content(desk, me, "submission_secret.txt") == b"ab" * 64
    assert {what for _, what in taken(collect(desk, "exchange"))} == {"same"}
    folder = desk.settings["submitted"] / me / ASSIGNMENT
    (folder / NAME).unlink()
    os.symlink(config, folder / NAME)
    collect(desk, "exchange")
    assert content(desk, me) == book(2) and "Exchange" in config.read_text()


# Other files of each form ---------------------------------------------------------------------------------------


PEOPLE = "id,first_name,last_name,email,lms_user_id\nada,Ada,Lo,ada@u.ex,1\nben,Ben,Bo,,2\nzoe,Zoë,van Dijk,,3\n"
APART = '''LastName,FirstName,ID,SIS Login ID,Section,HW (77)
,,,,,Manual Posting
    Points Possible,,,,,100
Doe,Jane,1,jdoe,A,
"=""=cmd""",Rick,2,rroe,A,N/A
,Mononym,3,mono,A,
Student,Test,9,zz,A,
'''
TEAMS = MOODLE.replace("Status,", "Status,Group,").replace("grading,", 'grading,"Blue, Team A",')
TEAMS = TEAMS.replace("No submission,", "No submission,Team B,")
POLISH = """Identyfikator,Pełna nazwa,Adres e-mail,Status,Ocena,Maksymalna ocena,Ocena może być zmieniona,Komentarz
Uczestnik 101,José Müller,jm@u.ex,Przesłane do oceny,,"100,00",Tak,
Uczestnik 102,李雷,li@u.ex,Przesłane do oceny,,"100,00",Tak,
"""
RAILS = """submission_1:
  :submitters:
  - :name: José Müller
    :sid: "0501"
  :created_at: !ruby/object:ActiveSupport::TimeWithZone
    utc: &1 2026-11-03 19:16:26.000000000 Z
    zone: !ruby/object:ActiveSupport::TimeZone
      name: America/Chicago
    time: 2026-11-03 13:16:26.000000000 Z
"""
ENDLESS = "".join(f"{b}: &{b} [{', '.join(a * 9)}]\n".replace("[", "[*").replace(", ", ", *")
                  for a, b in zip("abcdefgh", "bcdefghi", strict=True))  # fmt: skip
ENDLESS = f"a: &a [x]\n{ENDLESS}submission_1:\n  :submitters:\n  - :name: *i\n  :created_at: *i\n"
LONG = "María de los Ángeles Fernández-González de la Torre y Castañeda-Ñuñez"
FORMS = {  # (file -> number of the notebook; roster) -> student -> number of the notebook; what is said of the others
    "Canvas, names in two columns": (
        {"doejane_1_81_{}": 1, "cmdrick_2_82_{}": 2, "mononym_3_83_{}": 3, "studenttest_9_84_{}": 4}, APART,
        {"jdoe": 1, "rroe": 2, "mono": 3}, ["Test Student"]),
    "Canvas, order before time": (
        {"doejane_1_82_activations_dev-1.ipynb": 2, "doejane_1_81_{}": 1}, APART, {"jdoe": 2},
        ["was handed in after it"]),
    "Canvas, a name longer than a folder's": ({f"{'é' * 100}_2_82_{{}}": 1, f"{'x' * 140}_3_83_{{}}": 2}, None,
                                              {"é" * 100: 1, "3": 2}, []),
    "Moodle, groups": ({"Team A_657703_assignsubmission_file_/{}": 1, "Team B_9_assignsubmission_file_{}": 2}, TEAMS,
                       {"1001": 1, "1002": 1, "1003": 2}, []),
    "Moodle, a language nobody listed": ({"José Müller_101_assignsubmission_file_/{}": 1}, POLISH, {"jm@u.ex": 1}, []),
    "Moodle, names hidden in any language": (
        {f"Osallistuja_{n}_assignsubmission_file_/{{}}": n for n in (1, 2, 3)}, None,
        {f"participant-{n}": n for n in (1, 2, 3)}, []),
    "Moodle, long names, marks and dots": (
        {f"{name}_{n}_assignsubmission_file_/{{}}": n
         for n, name in enumerate((LONG, "प्रियंका चट्टोपाध्याय", ".dot x"), 1)}, None,
        {LONG.replace(" ", "~20"): 1, "प्रियंका~20चट्टोपाध्याय": 2, "~2Edot~20x": 3}, []),
    "Gradescope, Rails' times": ({"submission_1/{}": 1, "submission_metadata.yml": RAILS}, GRADESCOPE, {"0501": 1}, []),
    "Gradescope, without end": ({"submission_1/{}": 1, "submission_metadata.yml": ENDLESS}, GRADESCOPE, {},
                                ["does not know"]),
    "names of copies": (
        {"Copy of ada - activations_dev (2).ipynb": 1, "zoe_LATE_activations_dev-2.ipynb": 2, "[Ben]_{}": 3}, PEOPLE,
        {"ada": 1, "zoe": 2, "ben": 3}, []),
    "names of nobody": (
        {"Copy of {}": 1, "activations_dev_final_v2.ipynb": 2, "Kopie von {}": 3, "02_activations-eve.ipynb": 4}, None,
        {"eve": 4}, ["neither a folder"] * 3),
    "signs that nobody sees": ({"\u200fعلي\u200f/{}": 1, "a\u200bda/{}": 2}, None, {"علي": 1, "ada": 2}, []),
    "notebooks as JSON": ({"ada/activations_dev.json": 1, "ben/package.json": "{}", "ben/{}": 2}, PEOPLE,
                          {"ada": 1, "ben": 2}, ["no notebook"]),
}  # fmt: skip


@pytest.mark.parametrize("which", FORMS)
def test_other_files_of_each_form(desk, book, tmp_path, which):
    files, roster, expected, said = FORMS[which]
    files = {name.replace("{}", NAME): book(n) if isinstance(n, int) else n.encode() for name, n in files.items()}
    found = collect(desk, download(tmp_path, files, "zip"), roster=roster and write(tmp_path / "r.csv", roster))
    rest = [one.reason for one in found.files if one.what not in ("new", "changed", "same")]
    assert sorted(one.student for one in found.files if one.what == "new") == sorted(expected)
    assert all(content(desk, student) == book(n) for student, n in expected.items())
    assert len(rest) == len(said) and all(words in reason for words, reason in zip(said, rest, strict=True)), rest
    if which.endswith("times"):
        assert stamp_of(desk.settings["submitted"], "0501", ASSIGNMENT) == datetime(2026, 11, 3, 19, 16, 26)


def test_twice_the_same_place_and_a_link_for_a_folder(desk, book, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for number in (1, 2):
            archive.writestr(f"ada/{NAME}", book(number))
    assert taken(collect(desk, tmp_path / "in.zip")) == [("ada", "new"), ("ada", "older")]
    source = lay(tmp_path / "in", {f"ben/{NAME}": book(1)})
    (source / "cy").symlink_to(source / "ben")
    found = collect(desk, source)
    assert taken(found) == [("ben", "new")] and "collect that folder" in found.open[0].reason
    for name, words in (("x.zip", "download it again"), ("x.tar.gz", "unpack it")):
        (tmp_path / name).write_bytes(packed({NAME: book(1)})[:-30])
        with pytest.raises(CourseError, match=words):
            collect(desk, tmp_path / name)


def test_a_student_s_own_folder_or_archive_alone_and_work_of_two(desk, book, tmp_path):
    roster = write(tmp_path / "r.csv", PEOPLE)
    (tmp_path / "Ada.zip").write_bytes(packed({f"modules/{ASSIGNMENT}/{NAME}": book(1)}))
    assert taken(collect(desk, tmp_path / "Ada.zip", roster=roster)) == [("ada", "new")]
    assert taken(collect(desk, lay(tmp_path / "ben", {NAME: book(2)}))) == [("ben", "new")]
    found = collect(desk, lay(tmp_path / "zoe", {f"ada/{NAME}": book(3)}))
    assert not found.took and "'zoe' is a student, and 'ada' in it is another" in found.open[0].reason
    said = [("pair", "ben"), ("pair", "zoe")]
    assert taken(collect(desk, lay(tmp_path / "in", {f"pair/{NAME}": book(4)}), said=said)) == [
        ("ben", "changed"), ("zoe", "new")
    ]  # fmt: skip
    (tmp_path / "ben" / NAME).write_bytes(book(2))
    assert taken(collect(desk, tmp_path / "ben")) == [("ben", "older")], "it does not count, and that is said"


# Rosters --------------------------------------------------------------------------------------------------------


ROSTERS = {
    "canvas": (CANVAS, ["jmueller", "lei.li", "aohara", "jmueller2", "qquiet"]),
    "canvas, no login": (CANVAS.replace("SIS Login ID,", "").replace(",jmueller,", ",").replace(",lei.li,", ",")
                         .replace(",aohara,", ",").replace(",jmueller2,", ",").replace(",qquiet,", ","),
                         ["u501", "u502", "u503", "u504", "u505"]),
    "moodle": (MOODLE, ["1001", "1002", "1003"]),
    "moodle, older": (re.sub(r",(ID number|100\d),", ",", MOODLE),
                      ["jm@uni.example", "li@uni.example", "ao@uni.example"]),
    "moodle, german": ("ID,Vollständiger Name,E-Mail-Adresse,Status,Bewertung,Bestwertung\n"
                       'Teilnehmer/in657701,José Müller,jm@uni.example,Zur Bewertung abgegeben,"12,50","100,00"\n',
                       ["jm@uni.example"]),
    "gradescope": (GRADESCOPE, ["0501", "0502", "0503"]),
    "nbgrader": ("id,first_name,last_name,email,lms_user_id\nada,Ada,Lo,a@x.example,501\nb b,Ben,Bo,,\n",
                 ["ada", "b~20b"]),
}  # fmt: skip


@pytest.mark.parametrize("form", ["utf-8", "utf-8-sig", "utf-16", "cp1252", ";", "\t", "sep", "crlf", "cr"])
@pytest.mark.parametrize("which", ROSTERS)
def test_rosters(which, form):
    text, ids = ROSTERS[which]
    text, encoding = text, form if form[:3] in ("utf", "cp1") else "utf-8"
    if encoding == "cp1252":
        text = text.replace("李雷", "Li Lei").replace("李", "Li").replace("雷", "Lei")
    if form in (";", "\t", "sep"):
        text = "\n".join(_with(line, "\t" if form == "\t" else ";") for line in text.splitlines()) + "\n"
        text = "sep=;\n" + text if form == "sep" else text
    text = text.replace("\n", {"crlf": "\r\n", "cr": "\r"}.get(form, "\n"))
    data = text.encode(encoding)
    sheet = Sheet(data, "r.csv")
    assert sheet.kind == which.split(",")[0] and sheet.data() == data
    people = [person for _, person in read_roster(sheet)]
    assert [person.id for person in people] == ids and all(person.listed for person in people)


def _with(line, delimiter):
    import csv

    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="").writerow(next(csv.reader([line])))
    return out.getvalue()


def test_what_is_no_roster_is_said(desk, tmp_path):
    for data in (b"PK\x03\x04xx", b"", b"a,b\n1,2\n", b"\xff\xfe\x00"):
        (tmp_path / "r.csv").write_bytes(data)
        with pytest.raises(CourseError, match="r.csv"):
            Sheet.read(tmp_path / "r.csv")
    with pytest.raises(CourseError, match="cannot read"):
        Sheet.read(tmp_path / "none.csv")


def test_an_id_stays_when_another_system_names_the_student(desk, book, tmp_path):
    collect(desk, lay(tmp_path / "in", {f"jmueller/{NAME}": book(1), f"qquiet/{NAME}": book(2)}))
    known = Roster.load(desk.folder)
    known.add(person for _, person in read_roster(Sheet(CANVAS.encode(), "c")))
    assert known.people["jmueller"].lms == "501" and known.whole
    later = CANVAS.replace("jmueller,", "jm-new,")
    known.add(person for _, person in read_roster(Sheet(later.encode(), "c")))
    assert "jm-new" not in known.people and len(known.listed()) == 5
    known.add([Person("old", email="a@b.example"), Person("new", email="a@b.example")], by_id=True)
    assert {"old", "new"} <= known.people.keys() and len(known.by_key("A@b.example")) == 2, "two ids are two students"
    shared = "id,first_name,last_name,email\na,Ada,Lo,x@y.example\nb,Ben,Bo,x@y.example\n"
    with pytest.raises(CourseError, match="one number or address"):
        known.add(person for _, person in read_roster(Sheet(shared.encode(), "c")))


@pytest.mark.parametrize(
    "text", ["a_b", "Zoë van Dijk", "李雷", ".x", "~", "a/b", "Ann-Marie O'Hara", "نورا", "अनु", "x" * 30]
)
def test_ids_name_folders_and_are_read_back(text):
    from tito.grading.submissions import is_id

    id = student_id(text)
    assert is_id(id) and readable(id) == unicodedata.normalize("NFC", text) and "/" not in id
    assert student_id(unicodedata.normalize("NFD", text)) == id


# Similarity -----------------------------------------------------------------------------------------------------


ODD = '''
def mosaic(values, width={width}):
    """{doc}"""
    table = {{}}
    for place, item in enumerate(values):
        row, column = divmod(place * 7 + 3, width)
        if (row + column) % 5 == 0 and item not in table.get(row, ()):
            table.setdefault(row, []).append((column, item ** 3 - 2 * item))
    return sorted(table.items(), key=lambda pair: (len(pair[1]), -pair[0]))
'''


def test_two_who_share_more_than_chance(desk, submission, grade):
    pytest.importorskip("copydetect")
    folder = desk.settings["submitted"]
    for number in range(8):
        own = f"def own_{number}(x):\n    return [{', '.join(str(number * k + k) for k in range(number + 4))}, x]\n"
        submission(folder / f"s{number}" / ASSIGNMENT / NAME, solved="all" if number % 2 else ("relu",), own=own)
    from tito.grading.similar import pairs

    module = desk.course.module("02")
    assert pairs(desk.settings, module) == [], "the scaffold and the reference are nobody's own"
    copied = ODD.format(width=9, doc="mine").replace("table", "board").replace("item", "thing")
    submission(folder / "s2" / ASSIGNMENT / NAME, solved=("relu",), own=ODD.format(width=9, doc="a mosaic"))
    submission(folder / "s5" / ASSIGNMENT / NAME, solved="all", own=copied)
    (pair,) = pairs(desk.settings, module)
    assert pair.students == ("s2", "s5") and pair.shares[0] > 0.5 and pair.cells[0] == "a cell of their own"
    code, out, err = grade("similar", "02")
    assert code == 0 and "s2 and s5" in out and "no proof" in out, err


# Marks in the school's own file ---------------------------------------------------------------------------------


SCORES = {"jmueller": 87.5, "lei.li": 100.0, "aohara": 0.0, "jmueller2": 12.25}


def marks_of(scores, assignment=ASSIGNMENT):
    return [Mark({"id": id, "first_name": "", "last_name": "", "email": "", "lms_user_id": ""}, assignment,
                 {"a": (score, 60.0), "b": (0.0, 40.0)}, 0, 0.0) for id, score in scores.items()]  # fmt: skip


@pytest.fixture
def modules(course):
    return [course.module("02")]


def roster_of(text):
    known = Roster()
    known.add(person for _, person in read_roster(Sheet(text.encode(), "r.csv")))
    return known


def rows_of(data):
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))


@pytest.mark.parametrize("form", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_school_s_file_keeps_every_other_byte(modules, form, newline):
    text = CANVAS.replace("李, 雷", "=Li, +Lei").replace("\n", newline).rstrip(newline)
    data = text.encode(form)
    sheet = Sheet(data, "grades.csv")
    filled = school.fill(sheet, modules, marks_of(SCORES), roster_of(CANVAS))
    expected = text
    for id, score in SCORES.items():
        expected = re.sub(rf"(,{re.escape(id)},S\d,),", rf"\g<1>{score:g},", expected)
    assert filled.data.decode(form) == expected and filled.count == 4 and "Homework (77)" in filled.notes[0]
    again = Sheet(filled.data, "grades.csv")
    assert (
        school.fill(again, modules, marks_of(SCORES), roster_of(CANVAS), {ASSIGNMENT: "Homework"}).data == filled.data
    )


def test_a_column_is_found_by_name_or_added_at_the_end(modules, course):
    text = CANVAS.replace("Homework (77)", "02_activations (77),Midterm (78)").replace("Section", "Section")
    text = text.replace(",,\n", ",,41,\n").replace(",100,", ",50,30,")
    filled = school.fill(Sheet(text.encode(), "g"), modules, marks_of(SCORES), roster_of(CANVAS))
    rows = rows_of(filled.data)
    assert [row[5:7] for row in rows[2:]] == [
        ["87.5", "41"],
        ["100", "41"],
        ["0", "41"],
        ["12.25", "41"],
        ["", "41"],
        ["", "41"],
    ]
    assert "out of 50 there" in "".join(filled.notes) and rows[1][5] == "50"
    both = [*modules, course.module("01")]
    marks = marks_of(SCORES) + marks_of({"lei.li": 7.0, "zed": 1.0}, "01_tensor")
    filled = school.fill(Sheet(CANVAS.encode(), "g"), both, marks, roster_of(CANVAS))
    rows = rows_of(filled.data)
    assert rows[0][7:] == [ASSIGNMENT, "01_tensor"] and rows[1][7:] == ["100", "100"] and rows[3][7:] == ["100", "7"]
    assert [row[:7] for row in rows] == [row[:7] for row in rows_of(CANVAS.encode())] and len(rows) == 8
    assert any("zed" in note for note in filled.notes)
    one = CANVAS.replace("Final Score", "Quiz (78)").replace("(read only)", "10").replace(",,\n", ",,3\n")
    assert school.fill(Sheet(one.encode(), "g"), modules, marks, roster_of(CANVAS)).columns == {
        ASSIGNMENT: "Homework (77)"
    }
    for name, wanted in (
        ("Module 2: Activations (77)", None),
        ("Module 02 - Activations (77)", None),
        ("Final Score", 1),
    ):
        own = CANVAS.replace("Homework (77),Final Score", f"Quiz (76),{name}").replace(",,\n", ",3,\n")
        own = own if wanted else own.replace("(read only)", "100")
        if wanted:
            with pytest.raises(CourseError, match="works out itself"):
                school.fill(Sheet(own.encode(), "g"), modules, marks, roster_of(CANVAS), {ASSIGNMENT: name})
        else:
            assert school.fill(Sheet(own.encode(), "g"), modules, marks, roster_of(CANVAS)).columns == {
                ASSIGNMENT: name
            }
    totals = CANVAS.replace("Final Score", "Final (9)").replace(",,\n", ",3,\n")
    assert school.fill(Sheet(totals.encode(), "g"), modules, marks, roster_of(CANVAS)).columns == {
        ASSIGNMENT: ASSIGNMENT
    }
    with pytest.raises(CourseError, match="no column is called"):
        school.fill(Sheet(CANVAS.encode(), "g"), modules, marks, roster_of(CANVAS), {ASSIGNMENT: "Quiz"})
    twice = CANVAS.replace("Homework (77),Final Score", "Activations (77),02_activations (78)")
    with pytest.raises(CourseError, match="say which with --column"):
        school.fill(Sheet(twice.encode(), "g"), modules, marks, roster_of(CANVAS))
    other = CANVAS.replace('S2,,\n"Student', 'S2,EX,\n"Student')
    filled = school.fill(
        Sheet(other.encode(), "g"), modules, marks_of({"qquiet": 5.0}), roster_of(CANVAS), {ASSIGNMENT: "Homework"}, "0"
    )
    assert [row[5] for row in rows_of(filled.data)[2:]] == ["0", "0", "0", "0", "EX", ""]


def test_moodle_s_worksheet(modules, course):
    known = roster_of(MOODLE)
    filled = school.fill(Sheet(MOODLE.encode(), "w"), modules, marks_of({"1001": 87.5, "1003": 3.0}), known)
    assert filled.data.decode() == MOODLE.replace('grading,,100.00,Yes,"Wed', 'grading,87.5,100.00,Yes,"Wed').replace(
        "No submission,,", "No submission,3,"
    )
    german = ROSTERS["moodle, german"][0].replace('"12,50"', "")
    filled = school.fill(Sheet(german.encode(), "w"), modules, marks_of({"jm@uni.example": 87.5}), roster_of(german))
    assert filled.data.decode() == german.replace("abgegeben,,", 'abgegeben,"87,5",')
    with pytest.raises(CourseError, match="one module at a time"):
        school.fill(Sheet(MOODLE.encode(), "w"), [*modules, course.module("01")], [], known)


def test_students_without_a_roster_are_found_by_number_or_name(desk, book, tmp_path, modules):
    files = {f"müllerjosé_501_81_{NAME}": book(1), f"李雷_502_83_{NAME}": book(3)}
    collect(desk, download(tmp_path, files, "zip"))
    marks = marks_of({"müllerjosé": 1.5, "李雷": 2.0})
    rows = rows_of(school.fill(Sheet(CANVAS.encode(), "g"), modules, marks, office.roster(desk)).data)
    assert [row[5] for row in rows[2:]] == ["1.5", "2", "", "", "", ""], "the other José Müller gets nothing"
    folder = lay(tmp_path / "m", {f"Ann-Marie O'Hara_9_assignsubmission_file_/{NAME}": book(4)})
    collect(desk, folder)
    marks = marks_of({"Ann-Marie~20O~27Hara": 4.0})
    rows = rows_of(
        school.fill(
            Sheet(GRADESCOPE.replace("Quentin,Quiet", "Ann-Marie,O'Hara").encode(), "g"),
            modules,
            marks,
            office.roster(desk),
        ).data
    )
    assert [row[5:] for row in rows] == [[ASSIGNMENT], [""], [""], ["4"]]


@pytest.mark.parametrize("which", ["canvas", "moodle", "gradescope"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_file_of_our_own_is_read_again_by_the_same_rules(tmp_path, course, which, count):
    text = {"canvas": CANVAS, "moodle": MOODLE, "gradescope": GRADESCOPE}[which]
    known, chosen = roster_of(text), [course.module("02"), course.module("01")][:count]
    ids = list(known.people)
    scores = {id: 10.5 * n for n, id in enumerate(ids[1:])}
    marks = school.with_absent(
        marks_of(scores) + marks_of(dict.fromkeys(ids, 3.0), "01_tensor") * (count - 1), known, chosen
    )
    made = school.small(which, chosen, marks, known, tmp_path).data
    sheet = Sheet(made, "out.csv")
    again = read_roster(sheet)
    assert sheet.kind == which and {person.id for _, person in again} == set(ids) and len(again) == len(ids)
    place = sheet.header.index("Grade" if which == "moodle" and count == 1 else ASSIGNMENT)
    assert {person.id: sheet.cell(row, place) for row, person in again} == {ids[0]: ""} | {
        i: f"{s:g}" for i, s in scores.items()
    }
    filled = school.fill(sheet, chosen, marks, known)
    assert filled.data == made, "what was exported fills in to the same"


def test_names_are_no_formulas_in_files_of_our_own(tmp_path, modules):
    known = roster_of("id,first_name,last_name,email,lms_user_id\nada,+x,=1+1,@a,7\n")
    made = school.small("canvas", modules, marks_of({"ada": 1.0}), known, tmp_path).data.decode()
    assert "'=1+1, +x" in made and "\n    Points Possible,,,,,100\n" in made


# From a download to the school and back -------------------------------------------------------------------------


def test_from_a_download_to_the_school_and_back(desk, submission, tmp_path, grade):
    """Canvas's zip and gradebook in; marks in the gradebook, pages in a zip, and nbgrader's exchange out."""
    half = submission(tmp_path / "half.ipynb", solved=("relu", "sigmoid")).read_bytes()
    full = submission(tmp_path / "full.ipynb", solved="all").read_bytes()
    files = {f"müllerjosé_501_81_{NAME}": full, "oharaannmarie_LATE_503_84_work.zip": packed({f"x/{NAME}": half})}
    (tmp_path / "s.zip").write_bytes(packed(files))
    table = write(tmp_path / "grades.csv", CANVAS, "utf-8-sig")
    code, out, err = grade("collect", "02", str(tmp_path / "s.zip"), "--roster", table)
    assert code == 0 and "2 new" in out and "only the mark LATE" in out, err
    assert grade("run", "02")[0] == 0
    code, out, err = grade("roster", "02")
    assert code == 0 and "5 students, 3 without a submission." in out and "LATE" in out, err
    code, out, err = grade("export", "02", "--columns", "canvas", "--into", table)
    assert code == 0 and "2 marks written" in out, err
    filled = (tmp_path / "grades.csv").read_bytes().decode("utf-8-sig")
    assert filled == CANVAS.replace("jmueller,S1,,", "jmueller,S1,100,").replace("aohara,S1,,", "aohara,S1,30,")
    code, out, err = grade("export", "02", "--into", table)
    assert code == 0 and "added" not in err and (tmp_path / "grades.csv").read_bytes().decode("utf-8-sig") == filled
    code, out, err = grade("export", "02")
    assert "qquiet,Quiet,Quentin,,02_activations,0,100" in out and code == 0, err
    code, out, err = grade("feedback", "02", "--pack", "canvas", "-o", str(tmp_path / "back.zip"))
    assert code == 0, err
    with zipfile.ZipFile(tmp_path / "back.zip") as archive:
        assert archive.namelist() == ["müllerjosé_501_81_activations_dev.html", "oharaannmarie_LATE_503_84_work.html"]
        assert b"30" in archive.read("oharaannmarie_LATE_503_84_work.html")
    code, out, err = grade("feedback", "02", "--pack", "moodle")
    assert code == 1 and "no page of 02_activations belongs to a submission from Moodle" in err


def test_moodle_s_folders_come_back(desk, book, tmp_path):
    files = {f"Zoë Li_12_assignsubmission_file_/{NAME}": book(1), f"Jo_13_assignsubmission_file_{NAME}": book(2)}
    collect(desk, download(tmp_path, files, "zip"))
    for student in ("Zoë~20Li", "Jo"):
        lay(desk.settings["feedback"] / student / ASSIGNMENT, {"activations_dev.html": b"page"})
    target = tmp_path / "back.zip"
    school.pack(desk.settings, desk.folder, desk.course.module("02"), "moodle", ["Zoë~20Li", "Jo"], target)
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == ["Jo_13_assignsubmission_file_activations_dev.html",
                                      "Zoë Li_12_assignsubmission_file_/activations_dev.html"]  # fmt: skip


# What is kept, damaged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["roster.json", "extensions.json", "columns.json", "history"])
@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"id": 3}]', '[{"id": "a", "times": 3}]', '{"02_activations": {"ada": "never"}}',
             '{"02_activations": 3}', '{"versions": [{"notebook": 1, "digest": "", "stamp": "", "time": ""}]}']
)  # fmt: skip
def test_a_kept_file_that_says_something_else_is_named(desk, tmp_path, grade, name, text):
    """Each in one sentence, with what to do, or as far as it can be used; never a traceback."""
    path = desk.folder / ("history/02_activations/ada/index.json" if name == "history" else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (desk.settings["submitted"] / "ada" / ASSIGNMENT).mkdir(parents=True)
    table = write(tmp_path / "g.csv", PEOPLE)
    code, out, err = grade(*(("export", "02", "--into", table) if name == "columns.json" else ("roster", "02")))
    assert "Traceback" not in err and (code == 0 or code == 1 and f"{path} cannot be read" in err), out + err
    assert code == 1 or text[:2] in ('{"', "[{"), "what is no such file at all is not taken for one"


def test_an_hour_that_the_clocks_leave_out_is_the_next(berlin):
    from tito.grading.times import local, parse_due

    expected = {"2027-03-28T02:30": "2027-03-28 03:30 CEST", "2026-10-25T02:30": "2026-10-25 02:30 CEST",
                "2026-10-25": "2026-10-25 23:59 CET", "2027-03-28": "2027-03-28 23:59 CEST"}  # fmt: skip
    assert {text: local(parse_due(text)).partition(" (")[0] for text in expected} == expected


# More time ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_more_time_for_one(desk, book, tmp_path, grade, berlin):
    lay(tmp_path / "in", {f"{id}/{NAME}": book(1) for id in ("ada", "ben")}
        | {f"{id}/timestamp.txt": b"2026-12-25 12:00:00 UTC" for id in ("ada", "ben")})  # fmt: skip
    code, out, err = grade("extend", "02", "ada", "--until", "2026-12-31")
    assert code == 1 and "nobody here is called 'ada'" in err
    grade("collect", "02", str(tmp_path / "in"))
    code, out, err = grade("extend", "02", "ada", "--until", "2026-12-31")
    assert code == 1 and "has no due date" in err
    code, out, err = grade("assign", "02", "--due", "2026-12-24")
    assert code == 0 and "Due 2026-12-24 23:59 CET (UTC+0100)." in out, err
    code, out, err = grade("extend", "02", "ADA", "--until", "2026-12-31")
    assert (
        code == 0 and "ada has until 2026-12-31 23:59 CET (UTC+0100); the others had until 2026-12-24 23:59" in out
    ), err
    assert grade("run", "02")[0] == 0

    def late():
        return {mark.student["id"]: mark.late_hours for mark in desk.all_marks([desk.course.module("02")])}

    assert late() == {"ada": 0.0, "ben": 13.0}
    assert grade("extend", "02", "ada", "--until", "2026-12-25T12:00")[0] == 0 and late()["ada"] == 1.0
    assert grade("extend", "02", "ada", "--off")[0] == 0 and late()["ada"] == 13.0
    assert "no extension" in grade("extend", "02", "ada", "--until", "2026-12-01")[2]
    assert "is not of the form 2026-12-24" in grade("extend", "02", "ada", "--until", "soon")[2]
    assert "say --until DATE, or --off" in grade("extend", "02", "ada")[2]
