"""PyTorch's own module samples: what agreed once goes on agreeing, and nothing that we offer differs."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
sys.path.insert(0, str(Path(__file__).parent))
torch_modules = pytest.importorskip(
    "torch_modules", reason="PyTorch's test tools are not to be had", exc_type=ImportError
)

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
TABLE = json.loads(torch_modules.TABLE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", torch_modules.MODULES)
def test_samples(name):
    counts, wrong = torch_modules.counted(name)
    assert not wrong, f"{len(wrong)} of {counts['tried']} differ, the first is {wrong[0]}"
    assert counts["agree"] >= TABLE[name]["agree"], f"{TABLE[name]} became {counts}: counts may only grow"


def test_the_table_lists_every_module():
    assert TABLE.keys() == torch_modules.MODULES.keys(), "run `python tests/parity/torch_modules.py`, which writes it"
    assert all(row["agree"] for row in TABLE.values())
