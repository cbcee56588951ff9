"""The Python API in a real kernel of Jupyter: rows in and out, a progress bar, an interrupt that pauses."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import Home, wait_until

ROWS = 60
FIRST = f"""
import json, starmill
import datasets, pandas
rows = [{{"question": f"What is {{n}}?", "level": n % 3}} for n in range({ROWS})]
frame, dataset = pandas.DataFrame(rows), datasets.Dataset.from_list(rows)
"""


class Kernel:
    """A notebook whose cells are run one by one in one kernel."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> list[dict[str, Any]]:
        """Run a cell and return its outputs. Raise CellExecutionError for its exception."""
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        return list(cell.outputs)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs of the last cell."""
        return list(self._client.nb.cells[-1].outputs)

    @property
    def pid(self) -> int:
        return int(self._client.km.provisioner.pid)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def kernel(home: Home) -> Iterator[Kernel]:
    notebook, folder = nbformat.v4.new_notebook(), {"metadata": {"path": home.path.parent}}
    client = NotebookClient(notebook, timeout=100, resources=folder)
    with client.setup_kernel(env=home.environment):
        yield Kernel(client)


def call(rows: str, server: OpenAIServer, **options: Any) -> str:
    """Return the source of a call."""
    given = {"prompt": "Say: {{ question }}", "model": "m", "base_url": server.url} | options
    return f"starmill.generate({rows}, **{given!r})"


def text_of(outputs: list[dict[str, Any]]) -> str:
    return "".join(each["text"] for each in outputs if each["output_type"] == "stream")


def test_rows_come_and_go_as_frames_and_datasets(kernel: Kernel, openai_server: OpenAIServer) -> None:
    kernel.run(FIRST)
    outputs = kernel.run(f"out = {call('frame', openai_server)}")
    bars = [each["data"] for each in outputs if each["output_type"] == "display_data"]
    assert len(bars) == 1
    assert f'<progress value="{ROWS}" max="{ROWS}"' in bars[0]["text/html"]
    assert bars[0]["text/plain"].startswith("[####")
    kernel.run(f"same = {call('dataset', openai_server)}")
    kernel.run("as_frame, as_dataset = out.to_pandas(), same.to_dataset()")
    shown = "[len(out), as_frame.to_dict('records'), list(as_dataset)]"
    number, of_frame, of_dataset = json.loads(text_of(kernel.run(f"print(json.dumps({shown}))")))
    assert number == len(of_frame) == ROWS
    assert of_frame == of_dataset
    assert list(of_frame[1]) == ["question", "level", "answer"]
    assert (of_frame[1]["question"], of_frame[1]["level"]) == ("What is 1?", 1)
    assert all(row["answer"] for row in of_frame)
    assert openai_server.stats()["calls"] == ROWS


def test_interrupt_pauses_and_the_cell_again_completes(
    home: Home, kernel: Kernel, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=200.0)
    kernel.run(FIRST)
    cell = f"out = {call('rows', openai_server, max_concurrency=4)}"
    with (
        interrupted_when(kernel, lambda: openai_server.stats()["answers"] >= ROWS // 4),
        pytest.raises(CellExecutionError, match="KeyboardInterrupt"),
    ):
        kernel.run(cell)
    assert "was stopped; the same call goes on with it" in text_of(kernel.outputs)
    assert home.json("status")["state"] == "interrupted"
    assert not [command for command in home.processes().values() if "celery" in command]
    assert ROWS // 4 <= openai_server.stats()["answers"] < ROWS
    kernel.run(cell)
    assert text_of(kernel.run("print(len(out), all(row['answer'] for row in out))")) == f"{ROWS} True\n"
    assert openai_server.stats()["calls"] == ROWS


def test_services_end_with_a_kernel_that_is_killed(
    home: Home, kernel: Kernel, openai_server: OpenAIServer
) -> None:
    openai_server.configure(latency_ms=300.0)
    kernel.run(FIRST)
    with (
        interrupted_when(kernel, lambda: openai_server.stats()["answers"] >= 4, signal.SIGKILL),
        pytest.raises(DeadKernelError),
    ):
        kernel.run(call("rows", openai_server, max_concurrency=2))
    wait_until(lambda: not home.processes(), "the services have ended", 20)


@contextmanager
def interrupted_when(kernel: Kernel, reached: Any, which: signal.Signals = signal.SIGINT) -> Iterator[None]:
    def interrupt() -> None:
        wait_until(reached, "answers", 60)
        os.kill(kernel.pid, which)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        thread.join()
