"""PyTorch's own module samples: what agreed once goes on agreeing, and nothing that we offer differs."""

import json
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TABLE = json.loads(Path(__file__).with_name("modules.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def torch_modules():
    """torch_modules.py, imported where these tests run (see test_operators.py)."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    sys.path.insert(0, str(Path(__file__).parent))
    reason = "PyTorch's test tools are not to be had"
    return pytest.importorskip("torch_modules", reason=reason, exc_type=ImportError)


@pytest.mark.parametrize("name", TABLE)
def test_samples(torch_modules, name):
    counts, wrong = torch_modules.counted(name)
    assert not wrong, f"{len(wrong)} of {counts['tried']} differ, the first is {wrong[0]}"
    assert counts["agree"] >= TABLE[name]["agree"], f"{TABLE[name]} became {counts}: counts may only grow"


def test_the_table_lists_every_module(torch_modules):
    assert TABLE.keys() == torch_modules.MODULES.keys(), "run `python tests/parity/torch_modules.py`, which writes it"
    assert all(row["agree"] for row in TABLE.values())
