"""Lines about errors that no command foresaw: a service is away, or the ledger is damaged."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy.exc import DBAPIError

from models.core.errors import StarmillError
from storage.database import Database
from storage.service_checks import check_sqlite
from storage.service_errors import cause, passing_trouble
from storage.settings import load_settings


def explain(error: Exception) -> str:
    """Return one line, or an empty text if nothing but the program is at fault."""
    return passing_trouble(error) or _damage() or _refused(error)


def _damage() -> str:
    try:
        with closing(Database(load_settings().database)) as db:
            problems = [each.says for each in check_sqlite(db) if not each.ok]
            return f"the database {db} is damaged: {problems[0]}" if problems else ""
    except StarmillError as error:
        return str(error)


def _refused(error: Exception) -> str:
    if not isinstance(error, DBAPIError):
        return ""
    return f"the database refuses a statement: {cause(error)}; `starmill doctor` checks it"
