"""Cases of the scripted provider, and the experiment that each is tried in."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.chores import passages_of, write_experiment, write_jsonl
from tests.support.scripted_provider import JUDGE, PRICE, STUDENT, ScriptedProvider
from tests.support.scripted_replies import code_of

TRAIN_ROWS, TEST_ROWS = 20, 2
ANSWER_TOKENS = 64
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
OWN_CASES = Path(__file__).with_name("provider_cases.json")
Case = Mapping[str, Any]


def shared_cases(data: Path = SHARED) -> list[dict[str, Any]]:
    """Return the published cases; none where the published data is absent."""
    path = data / "cases" / "provider.json"
    return _with_wrong_answers(json.loads(path.read_text())["cases"]) if path.is_file() else []


def own_cases() -> list[dict[str, Any]]:
    """Return further cases of the same kinds."""
    return _with_wrong_answers(json.loads(OWN_CASES.read_text())["cases"])


def _with_wrong_answers(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let the student be wrong where a judge model gives verdicts: a right answer is not judged by one."""
    wrong = {"content": "The answer is something_else()"}
    return [
        case | {"rows": [f"TEST-{number + 1}" for number in range(len(case["verdicts"]))], "reply": wrong}
        if "verdicts" in case
        else case
        for case in cases
    ]


def write_case(data: Path, provider: ScriptedProvider, case: Case) -> Path:
    """Write rows and experiment of a case: one rationale a train row, one answer a test row."""
    name = str(case["name"])
    rows = {"train": case.get("train_rows", TRAIN_ROWS), "test": case.get("test_rows", TEST_ROWS)}
    if verdicts := case.get("verdicts"):
        rows["test"] = len(verdicts)
    for split, marker in (("train", "ROW"), ("test", "TEST")):
        names = [f"{marker}-{number}" for number in range(1, rows[split] + 1)]
        lines = [{"request": f"{each} call its function", "reference": code_of(each)} for each in names]
        _write_once(data / f"{split}-{rows[split]}.jsonl", lines)
    endpoint = {"base_url": provider.url_of(name), "price": PRICE, "params": {"max_tokens": ANSWER_TOKENS}}
    sections: dict[str, Any] = {
        "name": name,
        "dataset": {"path": "."} | {split: f"{split}-{number}.jsonl" for split, number in rows.items()},
        "passages": passages_of(data),
        "teacher": {"name": name, "backend": "openai", "model": name, "max_concurrency": 4, **endpoint},
        "students": [{"name": name, "backend": "server", "model": name + STUDENT, **endpoint}],
        "augment": {"enabled": False},
        "rationale": {"passes": 1, "exemplars": 0},
        "grid": {"shots": [0], "retrieval": [_is_documented(case)], "rationale": ["none"]},
        # A task a unit: the units of one case do not wait for each other.
        "units_per_task": {"rationale": 1, "rationalize": 1, "answer": 1},
    }  # fmt: skip
    if verdicts:
        judge = {"backend": "openai", "model": name + JUDGE, **endpoint}
        sections |= {"task": "docqa", "judge": {"model": judge}}
        sections["rationale"] |= {"correctness": "strict"}
        sections["dataset"] |= {"fields": {"request": "request", "reference": "reference"}}
    return write_experiment(data, provider.url, **sections)


def _is_documented(case: Case) -> bool:
    """Return whether prompts hold documentation: the right outcome of some cases is to leave it out."""
    return bool(case.get("retrieval")) or "documentation" in str(case.get("right"))


def _write_once(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a file that runs share, and that one of them may be reading."""
    if not path.is_file():
        own = path.with_suffix(f".{threading.get_ident()}")
        write_jsonl(own, rows).rename(path)
