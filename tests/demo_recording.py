"""The recording of `starmill demo --replay`, written from a home in which `starmill demo` has run:

    python -m tests.demo_recording HOME

Its lines name rows and cells, not prompts. Its passages are those that were found, and each tells for which
requests, in a sentence that is searched and not shown.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from models.core.retrieval.passage_selection import first_sentence
from models.core.types import JSON
from producer.experiments.load import PRESETS
from storage.database import Database
from storage.ledger.examples import examples
from storage.ledger.history import ExampleHistory, example_histories
from storage.ledger.runs import Run, list_runs
from storage.schema import TEST, TRAIN

ASKED = ("rationale", "rationalize", "answer")


def main(home: str) -> None:
    with closing(Database(f"sqlite:///{Path(home) / 'ledger.db'}")) as db:
        histories = list(_histories(db, list_runs(db)[0]))
    _write("recording.jsonl", (row for history in histories for row in answers(history)))
    _write("passages.jsonl", passages(histories))


def answers(history: ExampleHistory) -> Iterator[JSON]:
    for unit in history.units:
        if unit.stage in ASKED and (call := unit.call):
            usage = {
                "prompt": call.prompt_tokens,
                "cached": call.cached_tokens,
                "completion": call.completion_tokens,
            }
            cell = {"cell": unit.variant} if unit.stage == "answer" else {}
            yield {
                "stage": unit.stage, "question_id": history.question_id, **cell,
                "text": call.text, "finish_reason": call.finish_reason, "usage": usage,
            }  # fmt: skip


def passages(histories: Iterable[ExampleHistory]) -> Iterator[JSON]:
    requests: defaultdict[str, list[str]] = defaultdict(list)
    records: dict[str, JSON] = {}
    for history in histories:
        for unit in history.units:
            for record in unit.result.get("passages", ()) if unit.stage == "retrieve" else ():
                records[record["id"]] = record
                requests[record["id"]].append(history.request)
    for name, record in sorted(records.items()):
        text = f"{first_sentence(record['text']).removesuffix('.')}. Found for: {'; '.join(requests[name])}"
        yield {**{key: record[key] for key in ("id", "name", "signature")}, "text": text}


def _histories(db: Database, run: Run) -> Iterator[ExampleHistory]:
    for split in (TRAIN, TEST):
        for example in examples(db, run.id, split):
            yield from example_histories(db, run.id, example.question_id)


def _write(name: str, rows: Iterable[JSON]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (PRESETS / "demo" / name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
