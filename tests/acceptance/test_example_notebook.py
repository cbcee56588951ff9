"""The notebook in deploy/examples, executed as its reader would, in a kernel of Jupyter."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.pipeline import Home

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


@pytest.mark.marathon
@pytest.mark.timeout(1200)
def test_a_csv_becomes_a_trained_model(tmp_path: Path) -> None:
    """Some answers of the teacher are right and some are not; the training lowers the loss."""
    notebook = nbformat.read(EXAMPLES / "csv-to-model.ipynb", as_version=4)
    shutil.copy(EXAMPLES / "capitals.csv", tmp_path)
    client = NotebookClient(notebook, timeout=800, resources={"metadata": {"path": tmp_path}})
    client.execute(
        env=Home(tmp_path / "home").environment | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    )
    printed = "".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream"
    )
    right, rows = map(int, re.search(r"(\d+) of (\d+) answers are right", printed).groups())
    assert 8 <= right < rows == 24
    before, after = map(float, re.search(r"held-out rows: ([\d.]+) before, ([\d.]+) after", printed).groups())
    assert after < 0.95 * before
    assert re.search(r"teacher \d+% right, student \d+%", printed)


def test_the_notebook_has_no_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "csv-to-model.ipynb", as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []
