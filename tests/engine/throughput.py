"""Tokens a second through queue, ledger and worker, beside the engine alone on the same prompts.

    python -m tests.engine.throughput [--rows N] [--model FOLDER] [--gpu]
    python -m tests.engine.throughput --gpu --shape llama-7b --tokenizer FOLDER --rows 2048

The worker answers first; its prompts are then given to `vllm.LLM` in one process, all at once, twice. Both
start with an open engine and an empty cache of prompts. `--shape` makes a model of random weights first: it
says nothing sensible, at the speed of a trained one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from producer.progress.status import read_status
from storage.schema import GENERATIONS
from tests.engine.grid import Grid, planned, settings_in, worker
from tests.support.language_models import SHAPES, seven_billion, smollm2
from tests.support.services import running_valkey

WARM_ROWS = 4
PATIENCE = 3600.0
CPU = {"threads": 18, "tokens": 24, "engine": {}}
GPU = {
    "threads": 64, "tokens": 64,
    "engine": {"dtype": "bfloat16", "enforce_eager": False, "max_num_seqs": 256,
               "gpu_memory_utilization": 0.85},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256, help="two prompts each")
    parser.add_argument("--model", type=Path, help="a checkpoint; default SmolLM2 out of its package")
    parser.add_argument("--shape", choices=SHAPES, help="random weights instead, on a GPU")
    parser.add_argument("--tokenizer", type=Path, help="folder of the tokenizer for --shape")
    parser.add_argument(
        "--gpu", action="store_true", help="bfloat16, compiled, 256 sequences, 64 tokens each"
    )
    options = parser.parse_args()
    if options.shape and not options.tokenizer:
        parser.error("--shape needs --tokenizer")
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        if options.shape:
            model = seven_billion(options.shape, Path(folder, options.shape), options.tokenizer)
        else:
            model = options.model or smollm2(Path(folder, "smollm2"))
        measured = by_worker(model, Path(folder, "home"), options.rows, GPU if options.gpu else CPU)
        student, prompts = measured.pop("student"), measured.pop("prompts")
        print(json.dumps(measured), file=sys.stderr)
        alone = bare(student, prompts)
    speeds = [round(tokens / seconds, 1) for tokens, seconds in alone]
    print(json.dumps({
        **measured, "bare_tokens": alone[0][0], "bare_tokens_per_second": speeds,
        "ratio": [round(measured["tokens_per_second"] / speed, 3) for speed in speeds],
    }, indent=1))  # fmt: skip


def by_worker(model: Path, home: Path, rows: int, how: dict[str, Any]) -> dict[str, Any]:
    student = {"engine": how["engine"], "params": {"temperature": 0, "max_tokens": how["tokens"]}}
    with running_valkey() as redis_url:
        settings = settings_in(home, redis_url)
        with (
            planned(settings, model, WARM_ROWS, "warm", word="warm", **student) as warm,
            worker(warm, threads=how["threads"]) as process,
        ):
            warm.feed_until(2 * WARM_ROWS, PATIENCE, process)
            with planned(settings, model, rows, **student) as grid:
                seconds = grid.feed_until(2 * rows, PATIENCE, process)
                time.sleep(3)
                [engine] = read_status(grid.db, grid.run, time.time()).engines
                tokens = completion_tokens(grid)
                return {
                    "answers": dict(grid.states()), "tokens": tokens, "seconds": round(seconds, 2),
                    "tokens_per_second": round(tokens / seconds, 1),
                    "occupancy": round(engine.load.occupancy, 3),
                    "student": grid.run.experiment.students[0], "prompts": requests_of(grid),
                }  # fmt: skip


def completion_tokens(grid: Grid) -> int:
    query = select(func.sum(GENERATIONS.c.completion_tokens)).where(GENERATIONS.c.run_id == grid.run.id)
    with grid.db.read() as connection:
        return int(connection.execute(query).scalar_one())


def requests_of(grid: Grid) -> list[dict[str, Any]]:
    query = select(GENERATIONS.c.request).where(GENERATIONS.c.run_id == grid.run.id)
    with grid.db.read() as connection:
        return list(connection.scalars(query))


def bare(student: Any, requests: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(tokens, seconds) of each time."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams

    engine = student.engine
    model = LLM(
        model=student.model, dtype=engine.dtype, enforce_eager=engine.enforce_eager,
        max_num_seqs=engine.max_num_seqs, gpu_memory_utilization=engine.gpu_memory_utilization,
        max_model_len=student.max_model_len, enable_prefix_caching=True,
    )  # fmt: skip
    prompts = [request["prompt"] for request in requests]
    params = [SamplingParams(**request["params"]) for request in requests]
    model.generate(["warm"] * 8, params[0], use_tqdm=False)
    measured = []
    for _ in range(2):
        model.reset_prefix_cache()
        started = time.monotonic()
        outputs = model.generate(prompts, params, use_tqdm=False)
        seconds = time.monotonic() - started
        measured.append((sum(len(output.outputs[0].token_ids) for output in outputs), seconds))
    return measured


if __name__ == "__main__":
    main()
