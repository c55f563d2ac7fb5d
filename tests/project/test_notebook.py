"""The notebook of the loop runs from its first cell to its last, and holds no path of a machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "loop.ipynb"
NEEDED = ("nbclient", "nbformat", "ipykernel", "tensorflow", "pyarrow", "mlflow", "shap")
MOST_BYTES, LIMIT_S = 60_000, 600


def test_it_is_small_and_tells_no_paths() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    for path in ("/home/", "/tmp/", "file://", "site-packages", "Users"):
        assert path not in text, path


@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in NEEDED), reason="it needs the extras of the loop")
def test_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from nbclient import NotebookClient  # type: ignore[import-untyped, import-not-found, unused-ignore]

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    told = "".join(each.get("text", "") for cell in notebook.cells for each in cell.get("outputs", []))
    assert "drifted" in told and "version 1: round 0, first" in told
    assert any("image/png" in each.get("data", {}) for cell in notebook.cells for each in cell.get("outputs", []))
