"""The price of the answers that a run uses, whichever run bought them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from storage.database import Database
from storage.schema import DONE, GENERATIONS, UNITS


@dataclass(frozen=True, slots=True)
class AnswerCosts:
    """Sums over the calls of `answers`; a call that answers several units counts once."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano_usd: int = 0


def answer_costs(db: Database, run_id: str) -> dict[tuple[str, str, str], AnswerCosts]:
    """Return the costs by split, stage and variant, without answers that were not accepted."""
    step = (UNITS.c.split, UNITS.c.stage, UNITS.c.variant)
    calls = (
        select(*step, UNITS.c.generation, func.count().label("answers"))
        .where(UNITS.c.run_id == run_id, UNITS.c.state == DONE, UNITS.c.generation.is_not(None))
        .group_by(*step, UNITS.c.generation)
        .subquery()
    )
    tokens = (GENERATIONS.c[name] for name in ("prompt_tokens", "completion_tokens", "cost_nano_usd"))
    sums = [func.sum(column) for column in (calls.c.answers, *tokens)]
    query = (
        select(calls.c.split, calls.c.stage, calls.c.variant, *sums)
        .join(GENERATIONS, GENERATIONS.c.key == calls.c.generation)
        .group_by(calls.c.split, calls.c.stage, calls.c.variant)
    )
    with db.read() as connection:
        return {
            (split, stage, variant): AnswerCosts(*map(int, sums))
            for split, stage, variant, *sums in connection.execute(query)
        }
