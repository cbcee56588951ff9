"""python -m tests.bench.plain_command URL ROWS.jsonl OUT.jsonl: the plain loop as a whole program.

It reads rows, asks one question for each as `plain.py` does, and writes a line for each answer; started
again, it goes on from there. It imports nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from openai import AsyncOpenAI, DefaultAioHttpClient
from tenacity import retry, stop_after_attempt, wait_random_exponential

CONCURRENCY = 64
SIX_ATTEMPTS = retry(wait=wait_random_exponential(min=1, max=60), stop=stop_after_attempt(6))


def main(url: str, source: Path, target: Path) -> None:
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    known = set()
    if target.exists():
        known = {json.loads(line)["id"] for line in target.read_text("utf-8").splitlines()}
    with target.open("a", encoding="utf-8") as checkpoint:
        asyncio.run(_all(url, [row for row in rows if row["id"] not in known], checkpoint))


async def _all(url: str, rows: list[dict[str, Any]], checkpoint: TextIO) -> None:
    slots = asyncio.Semaphore(CONCURRENCY)
    http_client = DefaultAioHttpClient(trust_env=False)
    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http_client)

    async def ask(row: dict[str, Any]) -> None:
        async with slots:
            text = await _ask(client, f"Explain in one sentence: {row['question']}")
            checkpoint.write(json.dumps({**row, "answer": text}) + "\n")
            checkpoint.flush()

    async with client:
        await asyncio.gather(*map(ask, rows), return_exceptions=True)


@SIX_ATTEMPTS
async def _ask(client: AsyncOpenAI, prompt: str) -> str | None:
    answer = await client.chat.completions.create(
        model="teacher", messages=[{"role": "user", "content": prompt}]
    )
    return answer.choices[0].message.content


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
