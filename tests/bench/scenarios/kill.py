"""kill -9 at half, and a supervisor that starts again at once what was killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

from tests.bench.load import Load, messages_of, request_of
from tests.bench.measured import Measured
from tests.bench.plain import read_checkpoint
from tests.bench.plain_loop import plain_ended, plain_process, plain_started
from tests.bench.scenarios.base import Bench, Outcome, prefixed
from tests.bench.starting import installed
from tests.openai_server.process import OpenAIServer
from tests.support.chores import write_jsonl
from tests.support.pipeline import Home, paid, wait_until

VICTIMS = {"worker": "worker-0", "worker beside a gateway": "worker-0", "Redis": "redis", "feeder": "feeder"}


def kill(bench: Bench) -> Outcome:
    """2,000 calls each for a killed worker (alone, and beside a gateway), Redis, feeder, and everything that
    `starmill generate` started; the plain loop is all of them in one."""
    load = bench.load(2_000, quick=192)
    outcome: Outcome = {"plain": {}, "starmill": {}}
    with bench.server() as server:
        outcome["plain"] |= prefixed("worker", _plain(bench, load, server))
        for victim in VICTIMS:
            outcome["starmill"] |= prefixed(victim, _starmill(bench, load, server, victim))
        outcome["starmill"] |= prefixed("everything", _everything(bench, load, server))
    return outcome


def _starmill(bench: Bench, load: Load, server: OpenAIServer, victim: str) -> Measured:
    folder = bench.folder / victim.replace(" ", "-")
    with installed(load, server, folder, gateway="gateway" in victim) as installation:
        installation.begin()
        installation.wait_for(load.calls // 2)
        before, killed_at = installation.bought(), time.time()
        installation.kill(VICTIMS[victim])
        installation.wait_for(load.calls)
        values = installation.measured(
            committed_again=_again(before, installation.paid()),
            recovery_s=installation.longest_pause(killed_at),
        )
    # What a killed process had used is not known any more.
    return {name: value for name, value in values.items() if "cpu" not in name}


def _everything(bench: Bench, load: Load, server: OpenAIServer) -> Measured:
    """Kill the whole process tree of `starmill generate`, and start the same line again. An answer had
    arrived if the server had sent it before the first kill."""
    folder = bench.folder / "everything"
    folder.mkdir()
    server.configure(**load.behaviour)
    server.forget()
    rows = write_jsonl(folder / "rows.jsonl", [{"id": number} for number in range(load.calls)])
    home, out = Home(folder / "home"), folder / "out.jsonl"
    command = ("generate", rows, "--prompt", "Explain the number {{ id }}", "--model", "teacher",
               "--base-url", server.url, "-o", out)  # fmt: skip
    with home.started(*command) as process:
        _wait_for_answers(server, 0.45 * load.calls, load.patience)
        processes = home.processes()
        _wait_for_answers(server, 0.5 * load.calls, load.patience)
        arrived = paid(server)
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    home.starmill(*command, seconds=load.patience)
    answers = paid(server)
    again = sum(answers[call] > count for call, count in arrived.items())
    finished = len(out.read_text("utf-8").splitlines())
    return {"arrived_again_percent": 100 * again / len(arrived), "rows_lost": load.calls - finished}


def _wait_for_answers(server: OpenAIServer, count: float, patience: float) -> None:
    wait_until(lambda: server.stats()["answers"] >= count, f"{count:.0f} answers", patience)


def _plain(bench: Bench, load: Load, server: OpenAIServer) -> Measured:
    """Started again at once, by somebody who happened to watch."""
    folder = bench.folder / "plain"
    with plain_started(load, server, folder) as process:
        began = time.monotonic()
        wait_until(lambda: len(read_checkpoint(folder)) >= load.calls // 2, "half is done", load.patience)
        process.kill()
    before = {_as_counted(number) for number in read_checkpoint(folder)}
    with plain_process(load, server, folder) as process:
        values = plain_ended(load, server, folder, process, began)
    return values | {"committed_again": _again(before, Counter(server.stats()["paid"]))}


def _again(before: Iterable[str], paid: Mapping[str, int]) -> int:
    """Return the calls that were paid again although their answers were committed before the kill."""
    return sum(paid.get(call, 0) > 1 for call in before)


def _as_counted(number: int) -> str:
    """The plain loop's call, as the server names it."""
    messages = [
        {"role": message.role, "content": message.content} for message in messages_of(request_of(number))
    ]
    body = {"model": "teacher", "messages": messages}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
