"""The paper's pipeline, its models replayed, counts what `starmill audit` counts in what they wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from producer.results.score_files import Audit, audit_file
from tests.support.chores import read_jsonl, write_jsonl
from tests.support.paper import ANSWERS, Bootstrap, Row
from tests.support.pipeline import Home

pytestmark = [pytest.mark.marathon, pytest.mark.timeout(900)]
# By rule: rows, right at the first pass, right in the end. And what the check takes for no augmentation.
JOINED = {"paper": (1046, 103, 698), "strict": (1046, 85, 541), "tree": (1046, 103, 579)}
REJECTED = {"no_answer": 61, "parroted": 9}


@pytest.mark.parametrize("rule", JOINED)
def test_a_replayed_run_counts_what_the_audit_counts(
    rule: str, reference_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On all rows, with the requests as the paper augmented them."""
    bootstrap = Bootstrap.write(reference_data, tmp_path, joined=True)
    home = Home(tmp_path / "home")
    changes = (f"rationale.correctness={rule}", "augment.enabled=false")
    home.starmill("run", "conala-paper", "--local", *overrides(*bootstrap.settings(), *changes), seconds=600)
    assert counted(home, bootstrap, rule, capsys) == JOINED[rule]
    report = home.starmill("report", home.json("status")["run"], "--format", "json").stdout
    [cell] = json.loads(report)["ablation"]
    expected = json.loads((reference_data / "paper" / "expected_visible_scores.json").read_text())[ANSWERS]
    assert cell["n"] == expected.pop("n")
    assert {name: round(cell["scores"][name]["value"], 2) for name in expected} == expected


@pytest.mark.parametrize(("accept", "rejected"), [("any", {}), ("requires", REJECTED)])
def test_no_row_is_lost_for_its_augmentation(
    accept: str,
    rejected: dict[str, int],
    reference_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The preset accepts what the paper accepted. Under the check it leaves out 70 requests stay as they
    were, and their rows count all the same."""
    bootstrap = Bootstrap.write(reference_data, tmp_path, joined=False)
    home = Home(tmp_path / "home")
    changes = (f"augment.accept={accept}",)
    home.starmill("run", "conala-paper", "--local", *overrides(*bootstrap.settings(), *changes), seconds=600)
    status = home.json("status")
    assert status["failures"] == {}
    assert status["stand_ins"] == ({"augment": rejected} if rejected else {})
    assert counted(home, bootstrap, "paper", capsys) == JOINED["paper"]
    rows = home.export(status["run"], "synthetic")
    assert sum(row["query"] == row["request"] for row in rows) == sum(rejected.values())


# Steps that accept no rationale with its hint, of which one is right by the paper's rule.
IN_STEPS = {"paper": (1046, 103, 697), "strict": JOINED["strict"]}


@pytest.mark.parametrize("rule", IN_STEPS)
def test_pipeline_written_in_steps_counts_the_same(rule: str, reference_data: Path, tmp_path: Path) -> None:
    """STaR out of generate and judge, in which rationales that mention their hint are not accepted."""
    Bootstrap.write(reference_data, tmp_path, joined=True)
    accepts = {"refusal": False, "truncated": False}
    experiment = {
        "name": "star-in-steps",
        "data": {"path": "train.json", "fields": {"request": "nl", "reference": "cmd", "id": "question_id"}},
        "models": {
            "teacher": {"backend": "replay", "model": "gpt-3.5-turbo", "recording": "recording.jsonl"}
        },
        "steps": {
            "rationale": {"prompt": "Query: {{ nl }}", "check": accepts},
            "verdict": {"rule": rule, "of": "rationale"},
            "rationalize": {
                "when": "not verdict.correct",
                "prompt": "Query: {{ nl }} (Hint: the answer is {{ cmd }})",
                "check": {**accepts, "hint_leak": 0},
            },
            "hinted": {"rule": rule, "of": "rationalize", "when": "not verdict.correct"},
        },
    }
    (tmp_path / "steps.json").write_text(json.dumps(experiment))
    home = Home(tmp_path / "home")
    home.starmill("run", str(tmp_path / "steps.json"), "--local", expect=1, seconds=300)
    out = tmp_path / "rows.jsonl"
    home.starmill("export", home.json("status")["run"], "-o", str(out))
    rows = read_jsonl(out)
    first = sum(row["verdict"]["correct"] for row in rows)
    in_the_end = first + sum(bool(row["hinted"] and row["hinted"]["correct"]) for row in rows)
    assert (len(rows), first, in_the_end) == IN_STEPS[rule]


def counted(
    home: Home, bootstrap: Bootstrap, rule: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, int, int]:
    """Rows, right at the first pass, right in the end; of the run, and just so of the audit."""
    rows = home.export(home.json("status")["run"], "synthetic")
    keys = [row["question_id"] for row in rows]
    sources = Counter(row["source"] for row in rows)
    first = audit(bootstrap, "first_pass", keys)
    assert (first.n, first.correct[rule]) == (len(rows), sources["first_pass"])
    wrong = [row["question_id"] for row in rows if row["source"] != "first_pass"]
    leaks = {row["question_id"] for row in rows if row["hint_leak"]}
    hinted = audit(bootstrap, "star", wrong)
    assert leaks == set(hinted.leaks)
    # In the paper a leak may be right.
    assert hinted.correct[rule] == sources["star"]
    counts = (len(rows), sources["first_pass"], sources["first_pass"] + sources["star"])
    star = audit(bootstrap, "star", keys)
    with capsys.disabled():
        print(f"\n{rule}: rows, first pass, in the end: run {counts}, "
              f"audit {first.n, first.correct[rule], star.correct[rule]}, leaks {sorted(leaks)}")  # fmt: skip
    return counts


def audit(bootstrap: Bootstrap, name: str, keys: Iterable[str]) -> Audit:
    """Return what `starmill audit` counts in the paper's rationales for these rows."""
    rationales: dict[str, Row] = getattr(bootstrap, name)
    path = write_jsonl(bootstrap.folder / f"audited-{name}.jsonl", [rationales[key] for key in keys])
    return audit_file(path, bootstrap.folder / "train.json")


def overrides(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]
