"""A run of fifty units beside one of five thousand, on the same worker: it need not wait for the other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from models.core.experiment.experiment import Experiment
from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from producer.index.index_progress import bring_up_to_date
from storage.database import Database
from storage.ledger import counts, runs
from storage.settings import Settings
from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import chores, write_data, write_experiment, write_jsonl
from tests.support.pipeline import Home, bought, final_share, paid, wait_until
from tests.support.workers import celery_worker

LARGE, SMALL = 5_000, 50
LEFT = 0.8
CALLS_AT_ONCE, LATENCY_MS, THREADS = 16, 300, 6

pytestmark = [pytest.mark.marathon, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A train row has four units, a test row six."""
    folder = tmp_path_factory.mktemp("fair")
    made = {
        "large": write_data(folder / "large", train=(LARGE - 24) // 4, test=4),
        "small": write_data(folder / "small", train=(SMALL - 18) // 4, test=3),
    }
    # Requests of its own: an answer that the other has bought would cost it nothing.
    for split, count in (("train", 8), ("test", 3)):
        write_jsonl(made["small"] / f"{split}.jsonl", chores(count, f"little_{split}_"))
    return made


@pytest.fixture(scope="module")
def server(data: dict[str, Path]) -> Iterator[OpenAIServer]:
    rows = [path.read_text() for folder in data.values() for path in folder.glob("t*.jsonl")]
    references = data["large"].with_name("references.jsonl")
    references.write_text("".join(rows))
    assert all(json.loads(line)["reference"] for line in references.read_text().splitlines())
    with running("--references", str(references)) as started:
        yield started


@pytest.mark.parametrize("fed_by", ["service", "runs"])  # one process, or one for each run
def test_a_small_run_does_not_wait_for_a_large_one(
    fed_by: str, data: dict[str, Path], server: OpenAIServer, tmp_path: Path, redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.configure(latency_ms=LATENCY_MS)
    server.forget()
    home = Home(tmp_path / "home", {"STARMILL_REDIS_URL": redis_url})
    with ExitStack() as stack, home.ledger() as db:
        planned = {name: plan(db, home, folder, server) for name, folder in data.items()}
        assert planned == {"large": LARGE, "small": SMALL}
        stack.enter_context(celery_worker(home, threads=THREADS))
        if fed_by == "service":
            stack.enter_context(home.started("feed"))
            runs.start_run(db, "large", time.time())
        else:
            stack.enter_context(home.started("run", "--resume", "large"))
        wait_until(lambda: share_done(db, "large") > 0.01, "the large run is busy")
        assert share_done(db, "large") < 0.05
        if fed_by == "service":
            runs.start_run(db, "small", time.time())
        else:
            stack.enter_context(home.started("run", "--resume", "small"))
        wait_until(lambda: share_done(db, "small") == 1.0, "the small run is done", 300)
        left = 1 - share_done(db, "large")
        with capsys.disabled():
            print(f"\nfed by {fed_by}: when the small run was done, {left:.1%} of the large one were left")
        assert left >= LEFT
        server.configure()
        wait_until(lambda: share_done(db, "large") == 1.0, "the large run is done", 400)
        wait_until(lambda: {run.state for run in runs.list_runs(db)} == {"finished"}, "both have ended")
        assert bought(db) == set(paid(server))
        assert server.stats()["paid_again"] == 0


def plan(db: Database, home: Home, folder: Path, server: OpenAIServer) -> int:
    """Units planned of the run that is called as its data."""
    path = write_experiment(
        folder, server.url, name=folder.name, rationale={"passes": 1},
        grid={"shots": [0, 2], "retrieval": [False], "rationale": ["none", "star"]},
        **{side: endpoints(server)[side] for side in ("teacher", "students")},
    )  # fmt: skip
    experiment: Experiment = load_experiment(str(path))
    settings = Settings(home=home.path, _env_file=None)  # type: ignore[call-arg]
    bring_up_to_date(experiment, settings)
    splits = read_dataset(experiment)
    return runs.plan_run(db, folder.name, experiment, splits, time.time()).planned


def endpoints(server: OpenAIServer) -> dict[str, object]:
    endpoint = {"base_url": server.url, "max_concurrency": CALLS_AT_ONCE}
    return {
        "teacher": {"backend": "openai", "model": "large", **endpoint},
        "students": [{"name": "small", "backend": "server", "model": "small", **endpoint}],
    }


def share_done(db: Database, run: str) -> float:
    return final_share(counts.funnel(db, run, time.time()).total())
