"""python -m tests.bench.plain URL FOLDER: the loop that a careful user writes without Starmill.

AsyncOpenAI on aiohttp, a semaphore, six attempts by tenacity as in OpenAI's cookbook, and one line of a
checkpoint for each answer; started again, it goes on from there. It warms up, makes FOLDER/ready, begins
when FOLDER/gate is there, and prints what it took as one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TextIO

from openai import AsyncOpenAI, DefaultAioHttpClient
from tenacity import retry, stop_after_attempt, wait_random_exponential

from tests.bench.load import messages_of, request_of
from tests.bench.measured import cpu_seconds, peak_megabytes

READY, GATE = "ready", "gate"
CHECKPOINT = "checkpoint.jsonl"
SIX_ATTEMPTS = retry(wait=wait_random_exponential(min=1, max=60), stop=stop_after_attempt(6))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plain")
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    asyncio.run(_measure(parser.parse_args()))


async def _measure(options: argparse.Namespace) -> None:
    folder: Path = options.folder
    http_client = DefaultAioHttpClient(trust_env=False)
    async with AsyncOpenAI(
        base_url=options.url, api_key="none", max_retries=0, http_client=http_client
    ) as client:
        if not (folder / GATE).exists():
            warm_up = (_ask(client, request_of(number, "chart")) for number in range(options.concurrency))
            await asyncio.gather(*warm_up)
        known = read_checkpoint(folder)
        left = [number for number in range(options.calls) if number not in known]
        (folder / READY).touch()
        while not (folder / GATE).exists():
            time.sleep(0.01)  # noqa: ASYNC251 - nothing else is to happen
        cpu, started = cpu_seconds(), time.monotonic()
        with (folder / CHECKPOINT).open("a", encoding="utf-8") as checkpoint:
            await _all(client, left, options.concurrency, checkpoint)
        wall = time.monotonic() - started
        json.dump({"wall": wall, "cpu": cpu_seconds() - cpu, "peak": peak_megabytes()}, sys.stdout)


async def _all(client: AsyncOpenAI, numbers: list[int], concurrency: int, checkpoint: TextIO) -> None:
    slots = asyncio.Semaphore(concurrency)

    async def row(number: int) -> None:
        async with slots:
            text = await _ask(client, request_of(number))
            checkpoint.write(json.dumps({"id": number, "text": text}) + "\n")
            checkpoint.flush()

    # A row that used up its attempts is lost; the others go on.
    await asyncio.gather(*(row(number) for number in numbers), return_exceptions=True)


@SIX_ATTEMPTS
async def _ask(client: AsyncOpenAI, request: str) -> str | None:
    messages = [{"role": message.role, "content": message.content} for message in messages_of(request)]
    answer = await client.chat.completions.create(model="teacher", messages=messages)  # type: ignore[arg-type]
    return answer.choices[0].message.content


def read_checkpoint(folder: Path) -> dict[int, str | None]:
    """Text of each answer by its number."""
    path = folder / CHECKPOINT
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return {row["id"]: row["text"] for row in rows}


if __name__ == "__main__":
    main()
