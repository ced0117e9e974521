"""PyTorch's own operator samples: what agreed once goes on agreeing, and nothing that we offer differs."""

import json
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TABLE = json.loads(Path(__file__).with_name("table.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run():
    """run.py, imported where these tests run: PyTorch's samples take two seconds, which each process would wait for."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    sys.path.insert(0, str(Path(__file__).parent))
    return pytest.importorskip("run", reason="PyTorch's test tools are not to be had", exc_type=ImportError)


def hold(run, name, kind):
    """The counts of an operation against those in table.json."""
    counts, wrong = run.counted(name, kind)
    assert not wrong, f"{len(wrong)} of {counts['tried']} differ, the first with {wrong[0].summary()}"
    assert counts["agree"] >= TABLE[name][kind]["agree"], f"{TABLE[name][kind]} became {counts}: counts may only grow"


@pytest.mark.parametrize("name", TABLE)
def test_samples(run, name):
    hold(run, name, "sample")


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_reference_inputs(run, name):
    hold(run, name, "reference")


def test_the_table_lists_every_operation(run):
    assert TABLE.keys() == run.ADAPTERS.keys(), "run `python tests/parity/run.py`, which writes the table anew"
