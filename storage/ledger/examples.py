"""The examples of a run as its dataset gave them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from models.types import Example
from storage.database import Database
from storage.schema import EXAMPLES, RUNS

PAGE = 1000


def examples(db: Database, run_id: str, split: str) -> Iterator[Example]:
    """Of one split, in order, in bounded memory; without their tests."""
    of_run = select(RUNS.c.dataset).where(RUNS.c.id == run_id).scalar_subquery()
    query = (
        select(EXAMPLES)
        .where(EXAMPLES.c.dataset == of_run, EXAMPLES.c.split == split)
        .order_by(EXAMPLES.c.row)
        .limit(PAGE)
    )
    last = -1
    while True:
        with db.read() as connection:
            page = connection.execute(query.where(EXAMPLES.c.row > last)).all()
        for row in page:
            yield Example(row.row, row.question_id, row.request, row.reference, tuple(row.oracle))
        if len(page) < PAGE:
            return
        last = page[-1].row
