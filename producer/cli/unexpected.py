"""Lines about errors that no command foresaw: a service is away, a package is missing, a ledger damaged."""

from __future__ import annotations

import errno
from contextlib import closing
from importlib.metadata import metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy.exc import DBAPIError

from models.core.errors import StarmillError
from storage.database import ACCESS_HINT, Database
from storage.service_checks import check_sqlite
from storage.service_errors import cause, passing_trouble
from storage.settings import load_settings


def explain(error: Exception) -> str:
    """Return one line, or an empty text if nothing but the program is at fault."""
    return (
        passing_trouble(error)
        or _unusable_path(error)
        or _missing_extra(error)
        or _damage()
        or _refused(error)
    )


# What is wrong with a path that was given. A file that is missing against expectation is a fault of ours.
OF_PATHS = (
    errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
)  # fmt: skip


def _unusable_path(error: Exception) -> str:
    if not isinstance(error, OSError) or error.errno not in OF_PATHS or not error.filename:
        return ""
    return f"{error.filename}: cannot be used: {error.strerror}"


def _missing_extra(error: Exception) -> str:
    """Name the smallest extra that brings the package."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = canonicalize_name(error.name.partition(".")[0])
    wanted = list(map(Requirement, requires("starmill") or []))
    extras = metadata("starmill").get_all("Provides-Extra") or []
    brought = {
        extra: [canonicalize_name(each.name) for each in wanted if _asks(each, extra)] for extra in extras
    }
    bringing = [extra for extra, packages in brought.items() if package in packages]
    if not bringing:
        return ""
    smallest = min(bringing, key=lambda extra: len(brought[extra]))
    return f"{error.name} is not installed; pip install 'starmill[{smallest}]'"


def _asks(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _damage() -> str:
    try:
        with closing(Database(load_settings().database)) as db:
            if db.is_sqlite and not Path(db.url.database or "").is_file():
                return ""
            problems = [each.says for each in check_sqlite(db) if not each.ok]
            if not problems:
                return ""
            what = "cannot be opened" if problems[0].endswith(ACCESS_HINT) else "is damaged"
            return f"the database {db} {what}: {problems[0]}"
    except StarmillError as error:
        return str(error)


def _refused(error: Exception) -> str:
    if not isinstance(error, DBAPIError):
        return ""
    return f"the database refuses a statement: {cause(error)}; `starmill doctor` checks it"
