"""A row that is added at the top of the train file changes little of what is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.openai_server.process import OpenAIServer, running
from tests.support.chores import read_jsonl, write_data, write_experiment, write_jsonl
from tests.support.pipeline import Home, paid, run_locally

TRAIN, TEST = 40, 16
NEW = {"request": "turn list `new` into a tuple", "reference": "tuple(new)"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("inserted") / "data", train=TRAIN, test=TEST)


@pytest.fixture
def server(data: Path) -> Iterator[OpenAIServer]:
    references = read_jsonl(data / "references.jsonl")
    write_jsonl(data / "all.jsonl", [*references, NEW])
    with running("--references", str(data / "all.jsonl")) as started:
        yield started


def run_twice(
    data: Path, server: OpenAIServer, tmp_path: Path, **sections: Any
) -> tuple[int, int, list[dict[str, Any]], list[dict[str, Any]]]:
    """Run on the rows, and again with a new one before them. Return the calls and the answers of both."""
    home = Home(tmp_path / "home")
    rows = [
        {name: row[name] for name in ("request", "reference")} for row in read_jsonl(data / "train.jsonl")
    ]
    calls, answers = [], []
    for shown in (rows, [NEW, *rows]):
        write_jsonl(data / "train-now.jsonl", shown)
        experiment = write_experiment(
            data, server.url, name="inserted",
            dataset={"path": ".", "train": "train-now.jsonl", "test": "test.jsonl"}, **sections,
        )  # fmt: skip
        ended = run_locally(home, experiment)
        answers.append(home.export(ended.run, "answers"))
        calls.append(paid(server).total())
        server.forget()
    return calls[0], calls[1], answers[0], answers[1]


def test_rationales_of_other_rows_are_not_bought_again(
    data: Path, server: OpenAIServer, tmp_path: Path
) -> None:
    """Students are shown two right rationales, drawn for each test row."""
    first, second, before, after = run_twice(
        data, server, tmp_path, rationale={"passes": 1, "exemplars": 2},
        grid={"shots": [2], "retrieval": [False], "rationale": ["star"]},
    )  # fmt: skip
    changed = [
        row for row, then in zip(after, before, strict=True)
        if row["provenance"]["prompt_sha256"] != then["provenance"]["prompt_sha256"]
    ]  # fmt: skip
    # An augmentation and at most two rationales of the new row; answers that are shown it.
    assert 2 <= second - len(changed) <= 3
    assert all(0 in row["exemplars"] for row in changed)
    assert first > 2 * TRAIN + len(before) - 1
    assert len(changed) <= len(before) // 4


def test_only_neighbours_are_augmented_again(data: Path, server: OpenAIServer, tmp_path: Path) -> None:
    first, second, *_ = run_twice(
        data, server, tmp_path, augment={"batch_size": 4}, rationale={"passes": 0},
        grid={"shots": [0], "retrieval": [False], "rationale": ["none"]},
    )  # fmt: skip
    assert second < first // 2
