"""The ledger's tables. Times are seconds since the epoch; money is in billionths of a US dollar."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel

from storage import count_tables

# SQLite numbers rows only in an INTEGER column.
BIG_ID = BigInteger().with_variant(Integer, "sqlite")

# A unit waits for others, is ready (in flight while its owner's lease is live), then ends in one final state.
WAITING: Final = "waiting"
READY: Final = "ready"
DONE: Final = "done"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
FINAL: Final = (DONE, FAILED, SKIPPED)
OPEN: Final = (WAITING, READY)

# Why a unit was skipped.
ALREADY_CORRECT: Final = "already_correct"
UPSTREAM_FAILED: Final = "upstream_failed"
CONDITION: Final = "when"

# Why a vote failed.
NO_SAMPLES: Final = "no_samples"

# A run is planned before it starts, running while it is fed, and paused when only a person can help.
PLANNED: Final = "planned"
RUNNING: Final = "running"
PAUSED: Final = "paused"
INTERRUPTED: Final = "interrupted"
FINISHED: Final = "finished"

# The owner of calls that are enqueued for a batch, and of the units that await them. It needs no lease.
BATCH: Final = "batch"

# A batch is gathered from enqueued calls, its file is uploaded, it is submitted, and settled or refused.
GATHERED: Final = "gathered"
UPLOADED: Final = "uploaded"
SUBMITTED: Final = "submitted"
SETTLED: Final = "settled"
REFUSED: Final = "refused"
UNSETTLED: Final = (GATHERED, UPLOADED, SUBMITTED)

TRAIN: Final = "train"
TEST: Final = "test"


def _text(**options: Any) -> Any:
    return Field(sa_column=Column(Text, **options))


def _stage() -> Any:
    # SQLite holds no text to its length, and alters no column: there the length is that of the first release.
    return Field(sa_column=Column(String(64).with_variant(String(16), "sqlite"), nullable=False))


class ExampleRow(SQLModel, table=True):
    """One row of data; `dataset` is the hash of the whole data, so edits make a new one.

    `has_id` tells if the dataset gives the id, else `question_id` is the row's number; null in old ledgers.
    `columns` has all columns as read; null in old ledgers, and where a `dataset` keeps none.
    """

    __tablename__ = "example"
    __table_args__ = (UniqueConstraint("dataset", "split", "row", name="example_place"),)

    id: int | None = Field(default=None, sa_column=Column(BIG_ID, primary_key=True))
    dataset: str = Field(max_length=64)
    split: str = Field(max_length=8)
    row: int
    question_id: str = _text(nullable=False)
    has_id: bool | None = None
    request: str = _text(nullable=False)
    reference: str = _text(nullable=False)
    oracle: list[str] = Field(sa_column=Column(JSON, nullable=False))
    tests: dict[str, str] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True), nullable=True)
    )
    columns: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True), nullable=True)
    )


class RunRow(SQLModel, table=True):
    """One execution of an experiment, its configuration frozen.

    `unanswered_nano_usd` is what calls may have cost that brought no answer. `origin` is what was known of it
    when it was planned; null in old ledgers.
    """

    __tablename__ = "run"

    id: str = Field(primary_key=True, max_length=96)
    name: str = Field(max_length=64)
    state: str = Field(max_length=16)
    message: str = _text(nullable=False)
    config: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    config_hash: str = Field(max_length=64, index=True)
    dataset: str = Field(max_length=64)
    planned: int = Field(sa_column=Column(BigInteger, nullable=False))
    barrier_open: bool
    created_at: float
    started_at: float
    finished_at: float | None = None
    budget_nano_usd: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    charged_nano_usd: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    unanswered_nano_usd: int = Field(
        default=0, sa_column=Column(BigInteger, nullable=False, server_default="0")
    )
    origin: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True), nullable=True)
    )
    feeder: str | None = _text(nullable=True)
    feeder_until: float | None = None


class UnitRow(SQLModel, table=True):
    """The smallest thing that is queued, paid, retried and counted.

    `stage` is the name of its step. `kind` is null in the pipeline `star`, whose stages are kinds.
    """

    __tablename__ = "unit"
    __table_args__ = (
        UniqueConstraint("run_id", "example_id", "stage", "variant", "sample", name="unit_identity"),
        Index("unit_ready", "run_id", "queue", "id", postgresql_where=text("state = 'ready'"),
              sqlite_where=text("state = 'ready'")),
        Index("unit_funnel", "run_id", "split", "state", "stage", "variant"),
        Index("unit_ended", "run_id", "finished_at", "state", "queue", "stage",
              postgresql_where=text("finished_at IS NOT NULL"), sqlite_where=text("finished_at IS NOT NULL")),
        Index("unit_stand_in", "run_id", "stage", "reason",
              postgresql_where=text("state = 'done' AND reason IS NOT NULL"),
              sqlite_where=text("state = 'done' AND reason IS NOT NULL")),
        Index("unit_lease", "lease_owner", postgresql_where=text("lease_owner IS NOT NULL"),
              sqlite_where=text("lease_owner IS NOT NULL")),
        Index("unit_parked", "lease_owner", "generation", "run_id",
              postgresql_where=text("lease_owner = 'batch'"), sqlite_where=text("lease_owner = 'batch'")),
    )  # fmt: skip

    id: int | None = Field(default=None, sa_column=Column(BIG_ID, primary_key=True))
    run_id: str = Field(max_length=96)
    example_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    split: str = Field(max_length=8)
    stage: str = _stage()
    kind: str | None = Field(default=None, max_length=16)
    variant: str = Field(max_length=128)
    sample: int
    queue: str = Field(max_length=80)
    state: str = Field(max_length=8)
    needs: int
    attempts: int = 0
    rejections: int = 0
    budget_from: int = 0
    sent_at: float | None = None
    lease_owner: str | None = Field(default=None, max_length=64)
    finished_at: float | None = None
    reason: str | None = Field(default=None, max_length=32)
    detail: str | None = _text(nullable=True)
    generation: str | None = Field(default=None, max_length=64)
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    worker: str | None = Field(default=None, max_length=64)


class LeaseRow(SQLModel, table=True):
    """A worker process, and the time until which it holds what it has claimed."""

    __tablename__ = "lease"

    owner: str = Field(primary_key=True, max_length=64)
    expires_at: float


class GenerationRow(SQLModel, table=True):
    """One model call, bought once. While `done` is false, its buyer waits for the answer.

    A call enqueued for a batch names its `batch` once it is part of one, and its `members`: the units that
    share the call, in the order of their requests. `estimated`: the provider did not tell all tokens.
    """

    __tablename__ = "generation"
    __table_args__ = (
        Index("generation_run", "run_id"),
        Index("generation_open", "run_id", postgresql_where=text("done IS false"),
              sqlite_where=text("done IS 0")),
        Index("generation_batch", "batch", postgresql_where=text("batch IS NOT NULL"),
              sqlite_where=text("batch IS NOT NULL")),
        Index("generation_filed", "lease_owner", "batch", "created_at",
              postgresql_where=text("lease_owner = 'batch'"), sqlite_where=text("lease_owner = 'batch'")),
    )  # fmt: skip

    key: str = Field(primary_key=True, max_length=64)
    run_id: str = Field(max_length=96)
    unit_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    stage: str = _stage()
    model: str = _text(nullable=False)
    done: bool
    lease_owner: str | None = Field(default=None, max_length=64)
    request: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    answer: str | None = _text(nullable=True)
    refusal: str | None = _text(nullable=True)
    finish_reason: str | None = Field(default=None, max_length=32)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning: str | None = _text(nullable=True)
    reasoning_tokens: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    estimated: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    cost_nano_usd: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    seconds: float | None = None
    served: str | None = Field(default=None, max_length=128)
    created_at: float = 0.0
    batch: str | None = Field(default=None, max_length=32)
    members: list[int] | None = Field(default=None, sa_column=Column(JSON, nullable=True))


class BatchRow(SQLModel, table=True):
    """Calls that the provider gets as one file. `remote` is the provider's name of the batch."""

    __tablename__ = "batch"
    __table_args__ = (Index("batch_run", "run_id", "state"),)

    id: str = Field(primary_key=True, max_length=32)
    run_id: str = Field(max_length=96)
    state: str = Field(max_length=16)
    endpoint: str = Field(max_length=64)
    input_file: str | None = _text(nullable=True)
    remote: str | None = _text(nullable=True)
    requests: int
    answered: int = 0
    refused: int = 0
    message: str = _text(nullable=False)
    created_at: float
    submitted_at: float | None = None
    settled_at: float | None = None


class RejectionRow(SQLModel, table=True):
    """An answer that was not accepted, with its reason. The text is in its generation."""

    __tablename__ = "rejection"
    __table_args__ = (Index("rejection_run", "run_id", "reason"),)

    id: int | None = Field(default=None, sa_column=Column(BIG_ID, primary_key=True))
    run_id: str = Field(max_length=96)
    unit_id: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    stage: str = _stage()
    attempt: int
    reason: str = Field(max_length=32)
    detail: str = _text(nullable=False)
    generation: str | None = Field(default=None, max_length=64)
    created_at: float


class EngineRow(SQLModel, table=True):
    """The load of a model that runs in a worker process, and its GPUs; see `models.core.engine_load`."""

    __tablename__ = "engine"
    owner: str = Field(primary_key=True, max_length=64)
    model: str = Field(sa_column=Column(Text, primary_key=True))
    capacity: int
    running: int
    waiting: int
    busy_seconds: float
    sequence_seconds: float
    prompt_tokens: int = Field(sa_column=Column(BigInteger, nullable=False))
    completion_tokens: int = Field(sa_column=Column(BigInteger, nullable=False))
    gpus: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(JSON))
    updated_at: float


# Statements use the tables, not the classes.
EXAMPLES: Final[Table] = SQLModel.metadata.tables["example"]
RUNS: Final[Table] = SQLModel.metadata.tables["run"]
UNITS: Final[Table] = SQLModel.metadata.tables["unit"]
LEASES: Final[Table] = SQLModel.metadata.tables["lease"]
GENERATIONS: Final[Table] = SQLModel.metadata.tables["generation"]
BATCHES: Final[Table] = SQLModel.metadata.tables["batch"]
REJECTIONS: Final[Table] = SQLModel.metadata.tables["rejection"]
UNIT_COUNTS: Final[Table] = count_tables.UNIT_COUNTS
SPENDING: Final[Table] = count_tables.SPENDING
ENGINES: Final[Table] = SQLModel.metadata.tables["engine"]
