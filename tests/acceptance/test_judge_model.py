"""A run whose rationales and answers a judge model judges: what it is asked, what it costs, what counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.ledger.queries import ResultRow, iter_rows
from tests.acceptance.conftest import PRICE
from tests.openai_server.process import OpenAIServer
from tests.support.chores import read_jsonl, write_experiment, write_jsonl
from tests.support.pipeline import Ended, Home

TRAIN, TEST = 6, 3


@pytest.fixture(scope="module")
def judged(data: Path, model_server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    model_server.configure()
    for split, count in (("train", TRAIN), ("test", TEST)):
        write_jsonl(data / f"{split}-judged.jsonl", read_jsonl(data / f"{split}.jsonl")[:count])
    endpoint = {"base_url": model_server.url, "price": PRICE}
    experiment = write_experiment(
        data,
        model_server.url,
        name="judged",
        task="docqa",
        dataset={
            "path": ".", "train": "train-judged.jsonl", "test": "test-judged.jsonl",
            "fields": {"request": "request", "reference": "reference"},
        },
        teacher={"backend": "openai", "model": "large", **endpoint},
        judge={"model": {"backend": "openai", "model": "judge", **endpoint}},
        grid={"shots": [0, 1], "retrieval": [False], "rationale": ["none"]},
    )  # fmt: skip
    home = Home(tmp_path_factory.mktemp("judged") / "home")
    completed = home.starmill("run", experiment, "--local", seconds=500)
    return Ended(home, experiment, home.json("status")["run"], completed)


def results(ended: Ended, *stages: str) -> list[tuple[ResultRow, dict[str, Any]]]:
    with ended.home.ledger() as db:
        return [(row, row.result) for row in iter_rows(db, ended.run, stages=stages) if row.result]


def test_only_answers_that_differ_from_the_reference_are_judged(judged: Ended) -> None:
    judged_answers = [
        (row, result, result["answer"]) for row, result in results(judged, "rationale", "rationalize")
    ]
    judged_answers += [(row, result, result["prediction"]) for row, result in results(judged, "judge")]
    assert {row.stage for row, _, _ in judged_answers} == {"rationale", "rationalize", "judge"}
    for row, result, answer in judged_answers:
        same = answer == row.reference
        assert result["correct"] == same
        assert ("verdict" in result) != same
        if not same:
            assert result["verdict"]["said"] == "wrong"


def test_exported_answers_have_the_verdict_and_its_text(judged: Ended) -> None:
    rows = judged.home.export(judged.run, "answers")
    asked = [row for row in rows if row["prediction"] != row["reference"]]
    assert asked
    assert {(row["correct"], row["verdict"], row["verdict_text"]) for row in asked} == {
        (False, "wrong", "Verdict: wrong")
    }
    others = {(row["correct"], row["verdict"], row["verdict_text"]) for row in rows if row not in asked}
    assert others <= {(True, None, None)}


def test_a_verdict_is_paid_once_and_counted(judged: Ended) -> None:
    asked = {result["verdict"]["generation"] for _, result in results(judged, "rationale", "judge")
             if "verdict" in result}  # fmt: skip
    bought = [
        row for row in judged.home.export(judged.run, "generations") if row["request"]["model"] == "judge"
    ]
    assert len(bought) == len(asked)
    assert judged.home.json("status", judged.run)["cost_usd"] > 0


def test_a_row_names_its_verdicts_and_what_they_cost(judged: Ended) -> None:
    bought = {row["key"]: row for row in judged.home.export(judged.run, "generations")}
    for row in judged.home.export(judged.run, "synthetic"):
        calls = [bought[key] for key in row["provenance"]["generations"]]
        assert row["provenance"]["cost_usd"] == pytest.approx(sum(call["cost_usd"] for call in calls))
        by_judge = [call for call in calls if call["request"]["model"] == "judge"]
        # A first rationale that is not the reference was judged before it was tried again.
        assert len(by_judge) == (row["source"] == "star")


def test_show_prints_the_judges_prompt(judged: Ended) -> None:
    wrong = next(row for row, result in results(judged, "rationale") if "verdict" in result)
    shown = judged.home.json("show", judged.run, wrong.question_id)
    [unit] = [unit for unit in shown["rows"][0]["units"] if unit["stage"] == "rationale"]
    assert unit["judged"]["model"] == "judge"
    assert wrong.reference in unit["judged"]["prompt"]
    assert "verdict" in judged.home.starmill("show", judged.run, wrong.question_id).stdout


def test_accuracy_is_what_the_judge_says(judged: Ended) -> None:
    report = json.loads(judged.home.starmill("report", judged.run, "--format", "json").stdout)
    for cell in report["ablation"]:
        right = [
            result["correct"] for row, result in results(judged, "judge") if row.variant == cell["variant"]
        ]
        assert len(right) == TEST
        assert cell["scores"]["accuracy"]["value"] == pytest.approx(100 * sum(right) / TEST)
        assert "bleu4" not in cell["scores"]
