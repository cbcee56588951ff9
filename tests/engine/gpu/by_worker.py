"""Celery workers with an engine: cases, a teacher's samples, a killed engine, too little memory."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from producer.feeding.feeder import Feeder
from storage.broker import EXIT_UNUSABLE, UNUSABLE_PREFIX
from storage.schema import DONE, GENERATIONS, TEST, TRAIN, UNITS
from storage.settings import Settings
from tests.engine.gpu.load_trace import traced
from tests.engine.gpu.shapes import Case, Scale
from tests.engine.grid import Grid, log_of, planned, settings_in, worker
from tests.support.services import running_valkey

WARM_ROWS = 4
WORKER = "measured"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """State that all parts share. `left` says how many seconds there are; `out` is where results go."""

    scale: Scale
    out: Path
    left: Callable[[], float]

    def student(self, case: Case, **engine: Any) -> dict[str, Any]:
        return {
            "engine": {**self.scale.engine, **engine}, "max_model_len": self.scale.max_model_len,
            "params": {"temperature": 1.0, "max_tokens": case.max_tokens, "ignore_eos": True},
        }  # fmt: skip

    def plan(self, settings: Settings, model: Path, case: Case, name: str, **engine: Any) -> Any:
        return planned(
            settings, model, case.rows, name, splits=case.splits(model, name), sections=case.sections(),
            **self.student(case, **engine),
        )  # fmt: skip


@contextmanager
def open_worker(
    bench: Measurement, model: Path, home: Path, **engine: Any
) -> Iterator[tuple[Settings, subprocess.Popen[bytes], float]]:
    """A worker whose engine has answered a few rows, and the seconds from its start until then."""
    warm = replace(bench.scale.grid, rows=WARM_ROWS)
    with running_valkey() as redis_url:
        settings = settings_in(home, redis_url)
        with bench.plan(settings, model, warm, "warm", **engine) as grid:
            queues = [grid.run.experiment.students[0].queue, "model.reasoner"]
            with worker(grid, WORKER, bench.scale.threads, queues) as process:
                opening = grid.feed_until(warm.units, bench.left(), process)
                yield settings, process, opening


def cases(
    bench: Measurement,
    model: Path,
    home: Path,
    label: str,
    figures: Figures,
    *,
    samples: bool,
    **engine: Any,
) -> None:
    """Answer every case, then the teacher's samples; keep prompts for the bare engine, and traces."""
    with open_worker(bench, model, home, **engine) as (settings, process, opening):
        figures["opening_seconds"] = round(opening, 1)
        chosen = bench.scale.cases if not engine else (bench.scale.grid,)
        for case in chosen:
            with bench.plan(settings, model, case, case.name, **engine) as grid:
                figures[case.name] = _measured(bench, grid, case.units, process, f"{label}-{case.name}")
                prompts = bench.out / f"prompts-{model.name}-{case.name}.json"
                prompts.write_text(json.dumps(_requests(grid)))
        if samples:
            figures["samples"] = _teacher(bench, settings, model, process, label)


def _teacher(
    bench: Measurement, settings: Settings, model: Path, process: subprocess.Popen[bytes], label: str
) -> Figures:
    """Rationales of train rows: each is drawn several times from the engine that the students use."""
    case, draws = bench.scale.grid, bench.scale.samples
    rows = case.splits(model, "sampled")[TEST][: case.units // draws]
    student = bench.student(case)
    teacher = {"name": "reasoner", "backend": "vllm", "model": str(model), "engine": student["engine"],
               "max_model_len": student["max_model_len"], "params": student["params"]}  # fmt: skip
    rationale = {"passes": 0, "exemplars": 0, "samples": draws, "retries": 0, "params": student["params"]}
    sections = {**case.sections(), "teacher": teacher, "rationale": rationale}
    splits = {TRAIN: rows, TEST: rows[:1]}
    with planned(
        settings, model, 1, "samples", stage="rationale", splits=splits, sections=sections, **student
    ) as grid:
        return _measured(bench, grid, len(rows) * draws, process, f"{label}-samples")


def _measured(
    bench: Measurement, grid: Grid, units: int, process: subprocess.Popen[bytes], label: str
) -> Figures:
    with traced(grid) as trace:
        seconds = grid.feed_until(units, bench.left(), process)
        tokens, prompt = _tokens(grid)
        trace.wait_for_tokens(tokens)
    trace.write(bench.out / f"load-{label}.csv")
    return {
        "units": dict(grid.states()), "seconds": round(seconds, 2), "tokens": tokens,
        "prompt_tokens_each": round(prompt / units), "tokens_per_second": round(tokens / seconds, 1),
        "occupancy": round(trace.occupancy(), 3),
    }  # fmt: skip


def killed(bench: Measurement, model: Path, home: Path, figures: Figures) -> None:
    """Kill the engine's process at a quarter of a run. Nothing may be lost."""
    case = bench.scale.grid
    with (
        open_worker(bench, model, home) as (settings, process, opening),
        bench.plan(settings, model, case, "killed") as grid,
    ):
        before = grid.feed_until(case.units // 4, bench.left(), process)
        answered = sum(grid.states().values())
        _engine_process(process).kill()
        after = grid.feed_until(case.units, bench.left(), process)
        figures |= {
            "opening_seconds": round(opening, 1), "seconds_to_kill": round(before, 1),
            "answered_at_kill": answered, "seconds_from_kill_to_end": round(after, 1),
            "units": dict(grid.states()), "lost": case.units - grid.states()[DONE],
        }  # fmt: skip


def _engine_process(process: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(process.pid).children(recursive=True)
    [engine] = [each for each in children if "EngineCore" in " ".join([each.name(), *each.cmdline()])]
    return engine


def starved(bench: Measurement, model: Path, home: Path, figures: Figures) -> None:
    """Start with hardly any memory: the worker must end with one line, and hold no unit."""
    started = time.monotonic()
    case = replace(bench.scale.grid, rows=WARM_ROWS)
    with running_valkey() as redis_url:
        settings = settings_in(home, redis_url)
        with (
            bench.plan(settings, model, case, "starved", gpu_memory_utilization=0.0001) as grid,
            worker(grid, WORKER, bench.scale.threads) as process,
            closing(Feeder(grid.db, grid.run, settings)) as feeder,
        ):
            feeder.lead()
            while process.poll() is None and time.monotonic() - started < bench.left():
                feeder.tick()
                time.sleep(0.05)
            ended = process.poll()
            if ended is None:
                raise TimeoutError("the worker has not ended")
            log = log_of(settings, WORKER).read_text().splitlines()
            figures |= {
                "seconds": round(time.monotonic() - started, 1), "exit_code": ended,
                "expected_exit_code": EXIT_UNUSABLE, "units_held": sum(grid.holders().values()),
                "lines": [line for line in log if line.startswith(UNUSABLE_PREFIX)],
            }  # fmt: skip


def _tokens(grid: Grid) -> tuple[int, int]:
    """Return the tokens of all answers, and of their prompts."""
    sums = func.sum(GENERATIONS.c.completion_tokens), func.sum(GENERATIONS.c.prompt_tokens)
    with grid.db.read() as connection:
        answers, prompts = connection.execute(select(*sums).where(GENERATIONS.c.run_id == grid.run.id)).one()
    return int(answers), int(prompts)


def _requests(grid: Grid) -> list[dict[str, Any]]:
    """Return the requests in the order in which their units are fed."""
    query = (
        select(GENERATIONS.c.request)
        .join(UNITS, UNITS.c.generation == GENERATIONS.c.key)
        .where(UNITS.c.run_id == grid.run.id, UNITS.c.stage == grid.stage)
        .order_by(UNITS.c.id)
    )
    with grid.db.read() as connection:
        return list(connection.scalars(query))
