"""The same calls, made by a plain loop and by a local Starmill run."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from openai import AsyncOpenAI, DefaultAioHttpClient

STARMILL = Path(sys.executable).with_name("starmill")


@dataclass(frozen=True)
class Measured:
    """`wall` and `cpu` in seconds; `megabytes` is the largest resident set of one process."""

    calls: int
    wall: float
    cpu: float
    megabytes: float


def plain_loop(url: str, calls: int, concurrency: int, checkpoint: Path) -> Measured:
    """AsyncOpenAI on aiohttp, one line of checkpoint for each answer."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    asyncio.run(_plain_loop(url, calls, concurrency, checkpoint))
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(calls, wall, cpu, after.ru_maxrss / 1024)


async def _plain_loop(url: str, calls: int, concurrency: int, checkpoint: Path) -> None:
    slots = asyncio.Semaphore(concurrency)
    async with AsyncOpenAI(base_url=url, api_key="none", http_client=DefaultAioHttpClient()) as client:
        with checkpoint.open("w", encoding="utf-8") as lines:

            async def call(number: int) -> None:
                async with slots:
                    answer = await client.chat.completions.create(
                        model="teacher", messages=[{"role": "user", "content": f"question {number}"}]
                    )
                    lines.write(json.dumps({"id": number, "text": answer.choices[0].message.content}) + "\n")
                    lines.flush()

            await asyncio.gather(*(call(number) for number in range(calls)))


def starmill_run(url: str, calls: int, concurrency: int, folder: Path) -> Measured:
    """A whole `starmill run --local`: half of the calls augment, the others reason. The wall time is that
    from start to finish of the run as the ledger has it; CPU is that of all of its processes."""
    home = folder / "home"
    experiment = _experiment(url, calls // 2, concurrency, folder)
    environment = {**os.environ, "STARMILL_HOME": str(home)}
    subprocess.run([STARMILL, "index", "build", experiment], env=environment, check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([STARMILL, "run", experiment, "--local"], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    listed = subprocess.run([STARMILL, "runs", "--json"], env=environment, check=True, capture_output=True)
    run = json.loads(listed.stdout)["runs"][0]
    return Measured(calls, run["finished_at"] - run["started_at"], cpu, after.ru_maxrss / 1024)


def _experiment(url: str, examples: int, concurrency: int, folder: Path) -> Path:
    for split, rows in (("train", examples), ("test", 1)):
        lines = [{"request": f"{split} request {row}", "reference": "values"} for row in range(rows)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    passages = [
        {"id": f"p.{row}", "name": f"p{row}", "signature": "()", "text": "Does it."} for row in range(8)
    ]
    (folder / "passages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in passages))
    endpoint = {"model": "teacher", "base_url": url, "max_concurrency": concurrency}
    experiment = {
        "name": "bench",
        "dataset": {"path": ".", "train": "train.jsonl", "test": "test.jsonl"},
        "passages": {"source": "jsonl", "path": "passages.jsonl"},
        "teacher": {"backend": "openai", **endpoint},
        "students": [{"backend": "server", **endpoint}],
        "rationale": {"passes": 0},
        "grid": {"shots": [0], "retrieval": [False], "rationale": ["none"]},
        "units_per_task": {"retrieve": 64},
    }
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path
