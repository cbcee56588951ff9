"""A database that cannot be used is refused in one line, without its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.core.errors import ServiceError
from storage.database import Database
from storage.service_checks import check_sqlite


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "mysql://u:secret@h/d",
            "STARMILL_DATABASE_URL: only SQLite and PostgreSQL, not mysql; give sqlite:///",
        ),
        ("oracle+cx://u:secret@h/d", "STARMILL_DATABASE_URL: only SQLite and PostgreSQL, not oracle; give"),
        ("ledger.db", "STARMILL_DATABASE_URL: Could not parse SQLAlchemy URL"),
        ("", "STARMILL_DATABASE_URL: Could not parse SQLAlchemy URL"),
        ("postgresql+nothing://u:secret@h/d", "STARMILL_DATABASE_URL: Can't load plugin"),
    ],
)
def test_unknown_kind_is_refused(url: str, says: str) -> None:
    with pytest.raises(ServiceError) as error:
        Database(url)
    assert str(error.value).startswith(says)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_server_that_is_away_is_named(scheme: str) -> None:
    db = Database(f"{scheme}://u:secret@127.0.0.1:1/ledger")
    try:
        with pytest.raises(ServiceError) as error:
            db.migrate()
    finally:
        db.close()
    message = str(error.value)
    assert message.startswith(f"cannot open the database {scheme}://u:***@127.0.0.1:1/ledger: ")
    assert message.endswith("check STARMILL_DATABASE_URL")
    assert "secret" not in message
    assert "\n" not in message


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("words, and more of them than a header of SQLite has: " * 10)
    db = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    try:
        with pytest.raises(
            ServiceError, match=r"the database .* is damaged: file is not a database; put a backup"
        ):
            db.migrate()
    finally:
        db.close()


def test_folder_of_the_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "home" / "ledger.db"
    db = Database(f"sqlite:///{path}")
    db.migrate()
    db.close()
    assert path.is_file()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    db = Database(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")
    try:
        with pytest.raises(ServiceError, match=r"cannot open the database .*: .*check STARMILL_DATABASE_URL"):
            db.migrate()
    finally:
        db.close()


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    """Its advice is not to put a backup in its place."""
    (tmp_path / "ledger.db").mkdir()
    opened = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    [problem] = check_sqlite(opened)
    opened.close()
    assert not problem.ok
    assert problem.says == (
        "unable to open database file; make the file and its folder ones that this user may write"
    )
