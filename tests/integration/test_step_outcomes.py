"""Pipelines of steps in a real worker: refused samples, common calls, schemas that servers refuse, batches,
and a worker that is killed."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.adapters.backends.batch_api import BatchClient
from storage.ledger import runs
from storage.schema import CONDITION, DONE, FAILED, SKIPPED, UPSTREAM_FAILED
from tests.openai_server.process import OpenAIServer, running
from tests.support.batch_run import deliver
from tests.support.pipeline import Home, bought, final_share, paid, units, wait_until
from tests.support.step_worker import StepWorker, step_worker, units_by_row

ROWS, SAMPLES, SEED = 12, 3, 7
REFUSED_SAMPLE, REFUSED_ROW = 3, 5
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
RULES: list[dict[str, Any]] = [
    {"match": f"Draft q{REFUSED_SAMPLE}$", "seed": SEED + 1009, "refuse": "no such topic"},
    {"match": f"Draft q{REFUSED_ROW}$", "refuse": "no such topic"},
    {"match": "Rate ", "reply": [f'{{"reason": "so", "score": {score}}}' for score in range(1, 6)]},
    {"match": "Revise (.*)", "reply": r"Better \1"},
    {"match": "Draft (q.*)", "reply": r"\1 drafted with {salt}"},
    {"match": r"(?m)^1\. Tag", "each": "tag of {}", "without": 3},
    {"match": "Tag (.*)", "reply": r"lone tag of \1"},
    {"match": "Count", "reply": ['{"n": 1}', '{"n": "one"}']},
]
REFINED: dict[str, Any] = {
    "draft": {"prompt": "Draft {{ question }}", "samples": SAMPLES, "params": {"seed": SEED}},
    "critique": {"model": "critic", "prompt": "Rate {{ draft }}", "score": [1, 5]},
    "revise": {"prompt": "Revise {{ draft }}", "when": "critique.score < 4"},
    "best": {"of": ["revise", "draft"], "by": "critique.score"},
    "right": {"of": "best", "rule": "text"},
}


@pytest.fixture(scope="module")
def ruled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIServer]:
    path = tmp_path_factory.mktemp("rules") / "rules.json"
    path.write_text(json.dumps(RULES))
    with running("--rules", str(path)) as server:
        yield server


@pytest.fixture
def server(ruled_server: OpenAIServer) -> OpenAIServer:
    ruled_server.configure()
    ruled_server.forget()
    return ruled_server


@pytest.fixture
def worker(tmp_path: Path, redis_url: str, server: OpenAIServer) -> Iterator[StepWorker]:
    with step_worker(tmp_path, redis_url, server.url) as opened:
        yield opened


def rows(count: int = ROWS) -> list[dict[str, Any]]:
    return [{"question": f"q{row}", "reference": f"q{row} drafted with {SEED}"} for row in range(count)]


def draft(row: int, sample: int) -> str:
    return f"q{row} drafted with {SEED + 1009 * sample}"


def assert_refined(ended: dict[tuple[int, str, int], Any]) -> int:
    """Every unit of the pipeline REFINED has its right end. Return the number of calls that it takes."""
    calls = 0
    assert len(ended) == ROWS * (3 * SAMPLES + 2)
    for row in range(ROWS):
        standing: list[tuple[int, str]] = []
        for sample in range(SAMPLES):
            drafted, rated, revised = (ended[row, step, sample] for step in ("draft", "critique", "revise"))
            calls += 1
            if row == REFUSED_ROW or (row, sample) == (REFUSED_SAMPLE, 1):
                assert (drafted.state, drafted.reason) == (FAILED, "bad_request")
                assert {unit.state for unit in (rated, revised)} == {SKIPPED}
                assert {unit.reason for unit in (rated, revised)} == {UPSTREAM_FAILED}
                continue
            assert (drafted.state, drafted.result) == (DONE, {"value": draft(row, sample)})
            assert rated.state == DONE
            score = rated.result["value"]["score"]
            calls += 1
            if score < 4:
                assert (revised.state, revised.result) == (DONE, {"value": f"Better {draft(row, sample)}"})
                standing.append((score, revised.result["value"]))
                calls += 1
            else:
                assert (revised.state, revised.reason) == (SKIPPED, CONDITION)
            standing.append((score, drafted.result["value"]))
        best, right = ended[row, "best", 0], ended[row, "right", 0]
        if not standing:
            assert (best.state, best.reason) == (FAILED, "no_samples")
            assert (right.state, right.reason) == (SKIPPED, UPSTREAM_FAILED)
            continue
        assert (best.state, right.state) == (DONE, DONE)
        highest = max(score for score, _ in standing)
        assert best.result["score"] == highest
        # Of equal ones a revised draft wins, and then the first.
        equal = [text for score, text in standing if score == highest]
        chosen = min(equal, key=lambda text: not text.startswith("Better"))
        assert best.result["value"] == chosen
        assert right.result["value"] == {"correct": chosen == draft(row, 0)}
    return calls


def test_every_unit_ends_right_and_each_call_is_made_once(worker: StepWorker, server: OpenAIServer) -> None:
    worker.plan(rows(), REFINED)
    worker.work()
    calls = assert_refined(worker.units())
    assert calls > ROWS * (SAMPLES + 1)
    assert server.stats()["calls"] == calls
    assert server.stats()["paid_again"] == 0
    assert {unit.attempts for unit in worker.units().values() if unit.state in (DONE, FAILED)} == {1}


@pytest.mark.timeout(300)
def test_a_killed_worker_buys_no_committed_answer_again(tmp_path: Path, server: OpenAIServer) -> None:
    server.configure(latency_ms=60.0)
    model = {"backend": "openai", "base_url": server.url, "max_concurrency": 4}
    models = {"teacher": {**model, "model": "writer"}, "critic": {**model, "model": "reader"}}
    data = {"path": "rows.jsonl", "fields": {"reference": "reference"}}
    config = {"name": "refined", "data": data, "models": models, "steps": REFINED}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    path = tmp_path / "refined.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    home = Home(tmp_path / "home", {"STARMILL_LEASE_SECONDS": "3"})
    committed: dict[str, int] = {}
    with home.started("run", path, "--local") as process, home.ledger() as db:
        for share in (0.25, 0.55):
            wait_until(lambda share=share: final_share(units(db)) >= share, f"{share:.0%} are final")
            killed = home.service("celery")
            os.kill(killed, signal.SIGKILL)
            # Calls that were in flight are bought again; from then on, once committed, never.
            times = paid(server)
            committed = {call: times[call] for call in bought(db)} | committed
            wait_until(lambda killed=killed: home.services("celery") - {killed}, "the worker is replaced")
        process.communicate(timeout=120)
        assert process.returncode == 1
        [run] = runs.list_runs(db)
        ended = units_by_row(db, run.id)
    calls = assert_refined(ended)
    assert len(committed) > ROWS
    times = paid(server)
    assert {call: times[call] for call in committed} == committed
    assert len(times) == calls - SAMPLES - 1  # those that were refused are not paid


def test_what_a_common_reply_leaves_out_is_asked_for_alone(worker: StepWorker, server: OpenAIServer) -> None:
    steps = {"tag": {"prompt": "Tag {{ question }}", "together": 5, "params": {"max_tokens": 9}}}
    worker.plan(rows(23), steps, params={"max_completion_tokens": 100, "top_p": 0.5})
    worker.work()
    alone = [value for value in worker.values("tag") if value.startswith("lone tag of")]
    shared = [asked for asked in worker.requests() if asked["messages"][0]["role"] == "system"]
    sizes = [len(asked["messages"][1]["content"].splitlines()) for asked in shared]
    assert len(alone) == sum(size >= 3 for size in sizes) + (23 - sum(sizes))
    assert server.stats()["calls"] == len(shared) + len(alone)
    assert worker.rejections() == [("tag", "missing")] * sum(size >= 3 for size in sizes)
    for asked, size in zip(shared, sizes, strict=True):
        assert asked["params"] == {"max_tokens": 9 * size, "top_p": 0.5}
    for row, value in enumerate(worker.values("tag")):
        assert value in (f"tag of Tag q{row}", f"lone tag of q{row}")


def test_examples_are_drawn_by_row(worker: StepWorker) -> None:
    """Equal rows draw on their own: else their answers would be one answer."""
    examples = [{"question": f"example {number}", "made": "an answer"} for number in range(6)]
    worker.plan(rows(6) * 2, {"made": {"prompt": "Draft {{ question }}", "examples": examples, "shots": 2}})
    worker.work()
    drawn = {tuple(message["content"] for message in asked["messages"][:-1]) for asked in worker.requests()}
    assert len(drawn) > 4
    assert len(worker.requests()) > 6


@pytest.mark.parametrize(
    "step",
    [
        {"prompt": "Tag {{ question }}", "together": 5},
        {"prompt": "Count {{ question }}", "output": "json", "schema": SCHEMA, "params": {"seed": 1},
         "check": {"format": 20}},
        REFINED["draft"],
    ],
)  # fmt: skip
def test_interrupted_units_go_on_where_they_were(
    step: dict[str, Any], worker: StepWorker, server: OpenAIServer
) -> None:
    worker.plan([row for row in rows() if row["question"] != f"q{REFUSED_ROW}"][4:], {"made": step})
    worker.work()
    before, rejections = worker.units(), worker.rejections()
    answers = server.stats()["answers"]
    worker.forget_ends()
    worker.work()
    after = worker.units()
    assert server.stats()["answers"] == answers
    assert worker.rejections() == rejections
    assert bool(rejections) is ("samples" not in step)
    assert {unit: made.result for unit, made in after.items()} == {
        unit: made.result for unit, made in before.items()
    }
    assert all(made.state == DONE for made in after.values())


@pytest.mark.parametrize("schemas", [True, False])
def test_json_is_checked_whether_the_server_takes_schemas_or_not(
    schemas: bool, worker: StepWorker, server: OpenAIServer
) -> None:
    server.configure(schemas=schemas)
    step = {"prompt": "Count {{ question }}", "output": "json", "schema": SCHEMA, "params": {"seed": 1}}
    worker.plan(rows(), {"count": step | {"check": {"format": 20}}})
    worker.work()
    assert worker.values("count") == [{"n": 1}] * ROWS
    assert ("count", "schema") in worker.rejections()
    form = {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA}}
    sent = [asked["params"].get("response_format") for asked in worker.requests()]
    assert sent == [form if schemas else None] * len(sent)
    assert server.stats()["statuses"].get("400", 0) == (0 if schemas else 1)
    assert server.stats()["answers"] == len(sent) == ROWS + len(worker.rejections())


def test_steps_wait_for_batches(worker: StepWorker, server: OpenAIServer) -> None:
    steps = {"draft": REFINED["draft"], "best": {"of": "draft"}}
    run = worker.plan(rows(), steps, delivery="batch")
    worker.work()
    assert server.stats()["calls"] == 0
    assert run.experiment.teacher
    client = BatchClient(run.experiment.teacher)
    deliver(worker.runtime.db, client, worker.clock)
    client.close()
    worker.work()
    ended = worker.units()
    states = Counter((stage, unit.state) for (_, stage, _), unit in ended.items())
    assert states == {
        ("draft", DONE): ROWS * SAMPLES - SAMPLES - 1, ("draft", FAILED): SAMPLES + 1,
        ("best", DONE): ROWS - 1, ("best", FAILED): 1,
    }  # fmt: skip
    assert ended[0, "draft", 1].result == {"value": draft(0, 1)}
    assert server.stats()["calls"] == ROWS * SAMPLES
