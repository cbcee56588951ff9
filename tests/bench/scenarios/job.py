"""Whole jobs as a user starts them: process trees from start to exit."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import yaml

from tests.bench.load import Load
from tests.bench.measured import Measured
from tests.bench.process_tree import TreeUsage, measure_tree
from tests.bench.scenarios.base import Bench, Outcome, prefixed
from tests.openai_server.process import REPOSITORY, OpenAIServer, running
from tests.support.chores import passages_of, write_data, write_experiment

PROMPT = "Explain in one sentence: {{ question }}"
PLAIN = "plain"
COMMANDS = ("generate", "run --local")
# The paper's pipeline, by its search.
SEARCHES = {"star, bm25": "bm25", "star, dense": "dense"}
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG")
MORE = "of 1,000 calls more"


def job(bench: Bench) -> Outcome:
    """One prompt over one row, and over 2,000 at 200 ms, 64 at once: the plain loop as a program,
    `starmill generate`, and `starmill run --local`. And the paper's pipeline over one train row and 300."""
    whole, smaller, figures = bench.load(2000, quick=48), bench.load(300, quick=8), {}
    with bench.server() as server:
        for subject in (PLAIN, *COMMANDS):
            figures[subject] = _one_and_all(subject, whole, server, bench.folder / subject)
    references = write_data(bench.folder / "data", smaller.calls, test=1) / "references.jsonl"
    with running("--references", str(references)) as server:
        for subject in SEARCHES:
            figures[subject] = _one_and_all(subject, smaller, server, bench.folder / subject)
    plain = figures.pop(PLAIN)
    return {
        "plain": {name: value for subject in figures for name, value in prefixed(subject, plain).items()},
        "starmill": {
            name: value for subject in figures for name, value in prefixed(subject, figures[subject]).items()
        },
    }


def _one_and_all(subject: str, whole: Load, server: OpenAIServer, folder: Path) -> Measured:
    """Return the figures of the whole, some of those of one row, and what further calls cost."""
    one, all_ = (
        _measured(subject, dataclasses.replace(whole, calls=rows), server, folder / name)
        for rows, name in ((1, "one"), (whole.calls, "all"))
    )
    calls = max(1.0, all_["calls"] - one["calls"])
    cpu = (name for name in all_ if name.startswith("cpu_s"))
    more = {f"{name} {MORE}": 1000 * (all_[name] - one.get(name, 0.0)) / calls for name in cpu}
    return all_ | more | prefixed("one row", one)


def _measured(subject: str, load: Load, server: OpenAIServer, folder: Path) -> Measured:
    folder.mkdir(parents=True)
    server.configure(**load.behaviour)
    server.forget()
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {"STARMILL_HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY)}
    usage = measure_tree(
        _command(subject, server.url, folder, load.calls), folder, environment, load.patience
    )
    stats, out = server.stats(), folder / "out.jsonl"
    figures = _figures(stats["calls"], load, usage, stats["first_call_at"], stats["last_answer_at"])
    if subject not in SEARCHES:
        finished = len(out.read_text("utf-8").splitlines()) if out.exists() else stats["answers"]
        figures["rows_lost"] = load.calls - finished
    return figures | {"paid_again": stats["paid_again"]}


def _command(subject: str, url: str, folder: Path, rows: int) -> list[str]:
    """Write what the command reads, and return it."""
    starmill = str(Path(sys.executable).with_name("starmill"))
    if subject in SEARCHES:
        return [starmill, "run", str(_star(SEARCHES[subject], url, folder, rows)), "--local"]
    source, out = folder / "rows.jsonl", folder / "out.jsonl"
    with source.open("w", encoding="utf-8") as lines:
        for number in range(rows):
            question = f"how do I sort the values of table {number} by their second column?"
            lines.write(json.dumps({"id": number, "question": question}) + "\n")
    if subject == PLAIN:
        return [sys.executable, "-m", "tests.bench.plain_command", url, str(source), str(out)]
    if subject == "generate":
        return [starmill, "generate", str(source), "--prompt", PROMPT, "--model", "teacher",
                "--base-url", url, "-o", str(out)]  # fmt: skip
    experiment = folder / "experiment.yaml"
    teacher = {"backend": "openai", "model": "teacher", "base_url": url, "max_concurrency": 64}
    asked = {"name": "job", "data": source.name, "models": {"teacher": teacher},
             "steps": {"explain": {"prompt": PROMPT}}}  # fmt: skip
    experiment.write_text(yaml.safe_dump(asked), encoding="utf-8")
    return [starmill, "run", str(experiment), "--local"]


def _star(search: str, url: str, folder: Path, rows: int) -> Path:
    """Return the experiment: each train row has two calls or three, the test row one."""
    data = write_data(folder / "data", train=rows, test=1)
    endpoint = {"base_url": url, "max_concurrency": 64}
    return write_experiment(
        data, url, passages=passages_of(data, method=search, encoder="minilm"),
        teacher={"backend": "openai", "model": "large", **endpoint},
        students=[{"name": "small", "backend": "server", "model": "small", **endpoint}],
        augment={"batch_size": 1}, rationale={"hint": "paper", "passes": 1},
        grid={"shots": [2], "retrieval": [True], "rationale": ["star"]},
    )  # fmt: skip


def _figures(calls: float, load: Load, usage: TreeUsage, first_call: float, last_answer: float) -> Measured:
    ideal = dataclasses.replace(load, calls=int(calls)).ideal
    return {
        "calls": calls,
        "start_s": first_call - usage.began,
        "calls_s": last_answer - first_call,
        "calls_over_ideal": (last_answer - first_call) / ideal,
        "end_s": usage.ended - last_answer,
        "wall_s": usage.ended - usage.began,
        "cpu_s": usage.cpu_s,
        "resident_mb": usage.resident_mb,
        "proportional_mb": usage.proportional_mb,
        **{f"cpu_s of {name}": cpu for name, cpu in usage.cpu_by_process.items()},
        **{f"resident_mb of {name}": size for name, size in usage.resident_by_process.items()},
    }
