"""A ledger whose run is over, written in SQL alone: no model was asked, and every row is done."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, text

from models.core.experiment.experiment import Experiment
from storage.database import Database
from storage.schema import FINISHED, RUNS
from tests.support.task_folders import conala

RUN = "planted-1"
NOW = 1_800_000_000.0

# Of the row n: three phrasings of each question, documentation of three passages, and a rationale of some
# seventy words, wrong in every third row, where a second one is right.
_ROWS = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows)"
_EXAMPLES = """
INSERT INTO example (id, dataset, split, "row", question_id, request, reference, oracle) {rows}
SELECT n + 1, 'planted', 'train', n, (n / 3) || '-' || (n % 3), {request}, {code}, {empty} FROM numbers"""
_GENERATIONS = """
INSERT INTO generation (key, run_id, unit_id, stage, model, done, request, answer, finish_reason,
  prompt_tokens, cached_tokens, completion_tokens, cost_nano_usd, seconds, created_at)
{rows} SELECT {key}, '{run}', 3 * n + 2, 'rationale', 'teacher', {true}, {asked}, {answer}, 'stop',
  400, 0, 90, 114000, 0.8, {now} FROM numbers"""
_UNITS = """
INSERT INTO unit (id, run_id, example_id, split, stage, variant, sample, queue, state, needs, attempts,
  rejections, budget_from, finished_at, generation, result)
{rows} SELECT 3 * n + {place}, '{run}', n + 1, 'train', '{stage}', '{variant}', 0, 'retrieve', 'done', 0,
  1, 0, 0, {now}, {generation}, {result} FROM numbers WHERE n % {every} = 0"""

_STEPS = (
    "look at what is asked and at what the documentation says of its arguments, then put them in place, " * 4
)
_PASSAGE = """{"id": "lib.page#' || (n % PRIME) || '", "name": "lib.f' || (n % PRIME) || '",
 "signature": "(iterable, /, *, key)",
 "text": "Return a new list of the items of the iterable, where key of one tells how they compare.",
 "library": "lib", "score": 0.5, "scores": {}}"""


def plant(db: Database, rows: int) -> None:
    """`rows` train examples with documentation and a rationale, which is right in two of three, and in the
    others tried again."""
    sqlite = db.is_sqlite
    request = "'sort the list of dicts number ' || n || ' by the value of a key'"
    code = "'sorted(rows, key=lambda row: row[' || n || '])'"
    wrong = f"CASE n % 3 WHEN 0 THEN 'wrong()' ELSE {code} END"
    answer = f"'{_STEPS}so that the answer is ' || {wrong}"
    right = "CASE n % 3 WHEN 0 THEN 'false' ELSE 'true' END"
    passages = ", ".join(_PASSAGE.replace("PRIME", str(prime)) for prime in (997, 1009, 1013))

    def result(text: str, code: str, right: str) -> str:
        return (
            f"""'{{"query": "' || {request} || '", "text": "' || {text} || '", "answer": "' || {code} """
            f"""|| '", "correct": ' || {right} || ', "hint_leak": false, "form": ""}}'"""
        )

    again = result(f"'{_STEPS}so the answer is ' || {code}", code, "'true'")
    asked = (
        """'{"provider": "openai", "model": "teacher", "params": {"temperature": 0.5}, "draw": [0, 0], """
        f""""messages": [{{"role": "system", "content": "{_STEPS}"}}, """
        f"""{{"role": "user", "content": "' || {request} || '"}}]}}'"""
    )
    key = f"substr('{'0' * 64}' || n, length('' || n) + 1)"

    def json(value: str) -> str:
        return value if sqlite else f"CAST({value} AS JSON)"

    common = {"rows": _ROWS, "run": RUN, "now": NOW}
    retrieved = json(f"""'{{"query": "' || {request} || '", "passages": [{passages}]}}'""")
    statements = [
        _EXAMPLES.format(**common, request=request, code=code, empty=json("'[]'")),
        _GENERATIONS.format(
            **common, key=key, true="1" if sqlite else "true", asked=json(asked), answer=answer
        ),
        _UNITS.format(
            **common, place=1, stage="retrieve", variant="raw", generation="NULL", result=retrieved, every=1
        ),
        _UNITS.format(
            **common,
            place=2,
            stage="rationale",
            variant="",
            generation=key,
            every=1,
            result=json(result(answer, wrong, right)),
        ),
        _UNITS.format(
            **common,
            place=3,
            stage="rationalize",
            variant="pass-1",
            generation=key,
            every=3,
            result=json(again),
        ),
    ]
    with db.write() as connection:
        connection.execute(insert(RUNS).values(_run(rows)))
        for statement in statements:
            # Colons of the texts are no parameters.
            connection.execute(text(statement.replace(": ", r"\: ")), {"rows": rows})
    if not sqlite:
        # The server does so itself where rows come one by one.
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


def _run(rows: int) -> dict[str, Any]:
    experiment = Experiment.model_validate({
        "name": "planted",
        "dataset": {"path": "data", "train": "train.jsonl", "test": "test.jsonl"},
        "teacher": {"backend": "openai", "model": "teacher", "price": {"input": 0.15, "output": 0.6}},
        "students": [{"backend": "embedded", "name": "pupil"}],
        "augment": {"enabled": False},
        "rationale": {"passes": 1},
        "task": conala().model_dump(),
        "grid": {"shots": [0], "retrieval": [False], "rationale": ["none"]},
    })  # fmt: skip
    return {
        "id": RUN, "name": "planted", "state": FINISHED, "message": "",
        "config": experiment.model_dump(mode="json"), "config_hash": "planted", "dataset": "planted",
        "planned": 2 * rows + (rows + 2) // 3, "barrier_open": True, "created_at": NOW, "started_at": NOW,
        "finished_at": NOW, "charged_nano_usd": 0,
    }  # fmt: skip
