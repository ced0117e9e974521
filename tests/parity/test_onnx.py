"""ONNX's own node tests: what agreed once goes on agreeing, and nothing that we offer differs."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
sys.path.insert(0, str(Path(__file__).parent))
onnx_nodes = pytest.importorskip("onnx_nodes", reason="ONNX's node tests are not to be had", exc_type=ImportError)

pytestmark = pytest.mark.parity
TABLE = json.loads(onnx_nodes.TABLE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("operator", onnx_nodes.ADAPTERS)
def test_nodes(operator):
    counts, wrong = onnx_nodes.counted(operator)
    assert not wrong, f"{len(wrong)} of {counts['tried']} differ, the first is {wrong[0]}"
    assert counts["agree"] >= TABLE[operator]["agree"], f"{TABLE[operator]} became {counts}: counts may only grow"


def test_the_table_lists_every_operator():
    assert TABLE.keys() == onnx_nodes.ADAPTERS.keys(), "run `python tests/parity/onnx_nodes.py`, which writes it anew"
    assert all(row["agree"] for row in TABLE.values())
