"""Real Celery workers, each with an engine, on one queue."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from models.adapters.backends.vllm import VLLMBackend
from models.core.types import Request
from producer.feeding.feeder import Feeder
from producer.progress.status import read_status
from storage.broker import EXIT_UNUSABLE, UNUSABLE_PREFIX
from storage.ledger import runs
from storage.schema import DONE, PAUSED, RUNNING
from tests.engine.grid import Grid, log_of, planned, settings_in, worker
from tests.support.pipeline import wait_until
from tests.support.services import running_valkey

ROWS = 32
ANSWERS = 2 * ROWS
OPENING = 240

pytestmark = pytest.mark.timeout(1200)


def bare(grid: Grid, prompts: list[str]) -> list[str]:
    """The answers of the engine itself, without queue, ledger and worker."""
    student = grid.run.experiment.students[0]

    async def ask() -> list[str]:
        engine = VLLMBackend(student)
        try:
            await engine.open()
            requests = [Request("", student.model, prompt=prompt, params=params) for prompt in prompts]
            return [answer.text or "" for answer in await asyncio.gather(*map(engine.complete, requests))]
        finally:
            await engine.close()

    params = {**student.params, "stop": ["Query:", "Documentation:"]}
    return asyncio.run(ask())


@pytest.fixture(scope="module")
def undisturbed(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """One worker has answered everything, and has stopped."""
    with running_valkey() as redis_url:
        settings = settings_in(tmp_path_factory.mktemp("undisturbed"), redis_url)
        with planned(settings, small_model, ROWS) as grid:
            with worker(grid) as process:
                grid.feed_until(ANSWERS, OPENING)
                wait_until(lambda: read_status(grid.db, grid.run, time.time()).engines, "engine reported")
                family = psutil.Process(process.pid).children(recursive=True)
            assert process.returncode == 0
            wait_until(lambda: not alive(family), "what the worker started ended, too", 30)
            yield grid


def test_the_grid_is_answered_as_by_the_bare_engine(undisturbed: Grid) -> None:
    assert undisturbed.states() == {DONE: ANSWERS}
    asked = undisturbed.prompts()
    assert len(asked) == ANSWERS
    assert list(asked.values()) == bare(undisturbed, list(asked))


def test_the_status_says_how_full_the_engine_was(undisturbed: Grid) -> None:
    [engine] = read_status(undisturbed.db, undisturbed.run, time.time()).engines
    document = engine.document()
    assert document["max_num_seqs"] == 64
    assert 0 < document["occupancy"] <= 1
    assert document["tokens"]["completion"] > ANSWERS
    assert "Traceback" not in log_of(undisturbed.settings).read_text()


def test_two_workers_share_and_one_is_killed(undisturbed: Grid, small_model: Path, redis_url: str) -> None:
    settings = settings_in(Path("home").absolute(), redis_url)
    with (
        planned(settings, small_model, ROWS, "warm", word="warm") as warm,
        worker(warm, "one", threads=4, VLLM_CPU_OMP_THREADS_BIND="0") as first,
        worker(warm, "two", threads=4, VLLM_CPU_OMP_THREADS_BIND="1"),
    ):
        warm.feed_until(ANSWERS, OPENING)
        wait_until(lambda: len(answered_by(warm)) == 2, "both engines are open", OPENING)
        before = answered_by(warm)
        with planned(settings, small_model, 2 * ROWS, "shared", word="shared") as shared:
            shared.feed_until(2 * ANSWERS, OPENING)
            shares = {owner: tokens - before[owner] for owner, tokens in answered_by(shared).items()}
        assert min(shares.values()) >= 0.4 * sum(shares.values()), shares
        with planned(settings, small_model, ROWS) as grid:
            grid.feed_until(ANSWERS // 4, OPENING)
            family = psutil.Process(first.pid).children(recursive=True)
            first.send_signal(signal.SIGKILL)
            grid.feed_until(ANSWERS, OPENING)
            assert grid.states() == {DONE: ANSWERS}
            assert grid.texts() == undisturbed.texts()
        wait_until(lambda: not alive(family), "the engine ended too", 30)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def answered_by(grid: Grid) -> dict[str, int]:
    """Tokens of answers by worker, as reported last; the last report may be two seconds old."""
    time.sleep(3)
    engines = read_status(grid.db, grid.run, time.time()).engines
    return {engine.worker: engine.load.usage.completion for engine in engines}


def test_a_model_that_is_missing_pauses_the_run(redis_url: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home", redis_url)
    with planned(settings, tmp_path / "nowhere", 2) as grid, worker(grid):
        wait_until(lambda: fed(grid) == PAUSED, "the run is paused", OPENING)
        _, message = runs.run_state(grid.db, grid.run.id)
        assert message.startswith("model small: vLLM cannot open")
        assert grid.states() == {}
        wait_until(lambda: not grid.holders(), "units are given back")


def test_too_little_memory_stops_the_worker_with_one_line(
    small_model: Path, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path / "home", redis_url)
    engine = {"gpu_memory_utilization": 0.0001}
    with planned(settings, small_model, 2, engine=engine) as grid, worker(grid) as process:
        wait_until(lambda: fed(grid) and process.poll() is not None, "the worker stops", OPENING)
        assert process.returncode == EXIT_UNUSABLE
        lines = [
            line for line in log_of(settings).read_text().splitlines() if line.startswith(UNUSABLE_PREFIX)
        ]
        assert len(lines) == 1
        assert lines[0].startswith(f"{UNUSABLE_PREFIX}model small: vLLM does not start")
        assert not grid.holders()
        assert runs.run_state(grid.db, grid.run.id)[0] == RUNNING


def fed(grid: Grid) -> str:
    """The run's state, after its queue was filled."""
    with closing(Feeder(grid.db, grid.run, grid.settings)) as feeder:
        feeder.lead()
        feeder.tick()
    return runs.run_state(grid.db, grid.run.id)[0]
