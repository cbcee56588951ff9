"""The paper's pipeline, its models replayed, counts what `starmill audit` counts in what they wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from producer.results.score_files import Audit, audit_file
from tests.support.chores import write_jsonl
from tests.support.paper import ANSWERS, Bootstrap, Row
from tests.support.pipeline import Home

pytestmark = [pytest.mark.marathon, pytest.mark.timeout(900)]
# By rule: rows, right at the first pass, right in the end. And what is not taken for an augmentation.
JOINED = {"paper": (1046, 103, 697), "strict": (1046, 85, 541), "tree": (1046, 103, 579)}
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


def test_check_rejects_augmentations_that_the_paper_kept(
    reference_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap = Bootstrap.write(reference_data, tmp_path, joined=False)
    home = Home(tmp_path / "home")
    home.starmill("run", "conala-paper", "--local", *overrides(*bootstrap.settings()), expect=1, seconds=600)
    assert home.json("status")["failures"] == REJECTED
    total, _, _ = counted(home, bootstrap, "paper", capsys)
    assert total == 1046 - sum(REJECTED.values())


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
    # A leak is never right.
    sound = audit(bootstrap, "star", [key for key in wrong if key not in leaks])
    assert sound.correct[rule] == sources["star"]
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
