"""A run with passages: searches have a process of their own, and none of its processes loads torch."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from storage.schema import DONE
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import passages_of, write_data, write_experiment
from tests.support.pipeline import Home, units

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
TORCH, RUNTIME = "libtorch", "onnxruntime"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("search") / "data", train=4, test=4)


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[OpenAIServer]:
    with running("--references", str(data / "references.jsonl")) as started:
        yield started


def libraries(home: Home, process: subprocess.Popen[str]) -> dict[str, set[str]]:
    """Return which of the libraries were mapped while the command ran, by the log of the process."""
    seen: dict[str, set[str]] = defaultdict(set)
    while process.poll() is None:
        for pid in home.processes():
            with suppress(OSError):
                name = Path(f"/proc/{pid}/fd/1").readlink().stem
                mapped = Path(f"/proc/{pid}/maps").read_text()
                seen[name] |= {library for library in (TORCH, RUNTIME) if library in mapped}
    return seen


def run(home: Home, data: Path, server: OpenAIServer, **passages: object) -> dict[str, set[str]]:
    experiment = write_experiment(
        data,
        server.url,
        passages=passages_of(data) | passages,
        grid={"shots": [0], "retrieval": [False, True], "rationale": ["none"]},
    )
    with home.started("run", experiment, "--local") as process:
        seen = libraries(home, process)
        assert process.returncode == 0, process.communicate()[1]
    with home.ledger() as db:
        assert set(units(db)) <= {DONE, "skipped"}
    return seen


def test_packaged_encoder_runs_in_the_search_process_without_torch(
    data: Path, server: OpenAIServer, tmp_path: Path
) -> None:
    seen = run(Home(tmp_path / "home"), data, server, encoder="minilm")
    assert not [name for name, mapped in seen.items() if TORCH in mapped]
    assert RUNTIME in seen.get("worker-retrieve", ())
    assert seen.get("worker") == set()


def test_bm25_opens_no_encoder(data: Path, server: OpenAIServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    seen = run(home, data, server, encoder="/no/encoder", method="bm25")
    assert "worker-retrieve" in seen
    assert not [name for name, mapped in seen.items() if {TORCH, RUNTIME} & mapped]
    assert not list(home.path.glob("milvus*"))
