"""The provenance of a report: hashes of what went in, versions, who answered, seeds, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from producer.results.report.table_parts import Section, section_of_texts
from storage.database import Database
from storage.ledger.runs import Run, run_origin
from storage.ledger.served_models import ServedModel, database_version, served_models

TITLE, REPEAT = "Provenance", "Repeat it with"
UNKNOWN = "not recorded: the run was planned by an earlier release"
FROM_PYTHON = "the call from Python that planned it"
# Bootstrap and randomization draw with it, for every run.
RESAMPLING_SEED = 0
# A server whose fingerprint changes with each call fills no page.
MAX_SERVED = 5


@dataclass(frozen=True, slots=True)
class Provenance:
    """`configuration` and `data` are SHA-256 of the experiment with its rows, and of the rows. `passages` has
    the `sha256` of the corpus, the fingerprint of the `encoder` and their `count`; None without passages.

    `file` names the experiment, `line` repeats the run; both are empty where they are not known, as in a run
    that was planned from Python. `served` are the models as their servers named them, MAX_SERVED of each.
    `seed` is the experiment's, `seeds` those of its grid.
    """

    configuration: str = ""
    data: str = ""
    passages: dict[str, Any] | None = None
    file: str = ""
    file_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    database: str = ""
    served: tuple[ServedModel, ...] = ()
    seed: int = 0
    seeds: tuple[int, ...] = ()
    resampling_seed: int = RESAMPLING_SEED
    line: str = ""

    def document(self) -> dict[str, Any]:
        """Return the provenance as JSON."""
        return {**asdict(self), "seeds": list(self.seeds), "served": [each._asdict() for each in self.served]}


def read_provenance(db: Database, run: Run) -> Provenance:
    """Read what was recorded of the run, and who answered it so far."""
    configuration, origin = run_origin(db, run.id)
    by_model = groupby(served_models(db, run.id), key=lambda each: each.model)
    served = tuple(each for _, of_model in by_model for each in list(of_model)[:MAX_SERVED])
    return Provenance(
        configuration, run.dataset, origin.get("passages"), origin.get("file", ""),
        origin.get("file_sha256", ""), origin.get("versions", {}), database_version(db), served,
        run.experiment.seed, tuple(run.experiment.grid.seeds), RESAMPLING_SEED, origin.get("line", ""),
    )  # fmt: skip


def provenance(record: Provenance) -> Section:
    """Return a table of names and values."""
    return section_of_texts(TITLE, ("", ""), provenance_rows(record), text_columns=(0, 1))


def provenance_rows(record: Provenance) -> Iterator[tuple[str, str]]:
    """Yield names and values, each on one line; nothing of a run that is not in a ledger."""
    if not record.configuration:
        return
    yield "Configuration, SHA-256", record.configuration
    yield "Data, SHA-256", record.data
    if record.passages:
        yield "Passages, SHA-256", f"{record.passages['sha256']}, {record.passages['count']:,} passages"
        yield "Encoder, fingerprint", record.passages["encoder"]
    if record.file:
        yield "Experiment", f"{record.file}, SHA-256 {record.file_sha256}".removesuffix(", SHA-256 ")
    yield "Versions", ", ".join(f"{name} {number}" for name, number in record.versions.items()) or UNKNOWN
    yield "Ledger", record.database
    for model, of_model in groupby(record.served, key=lambda each: each.model):
        yield f"Answers of {model}", "; ".join(map(_served_words, of_model))
    yield "Seeds", _seeds(record)
    yield REPEAT, record.line or _without_line(record)


def _without_line(record: Provenance) -> str:
    if record.file:
        return "a line that is too long to be kept"
    return FROM_PYTHON if record.versions else UNKNOWN


def _served_words(served: ServedModel) -> str:
    calls = "1 call" if served.calls == 1 else f"{served.calls:,} calls"
    return f"{served.served or 'no name from a server'}, {calls}"


def _seeds(record: Provenance) -> str:
    grid = f", grid {', '.join(map(str, record.seeds))}" if record.seeds else ""
    return f"experiment {record.seed}{grid}, resampling {record.resampling_seed}"


def csv_values(record: Provenance) -> dict[str, str]:
    """Return the columns that are the same in each line of a CSV file."""
    passages = record.passages or {}
    served = dict.fromkeys(each.served or each.model for each in record.served)
    return {
        "configuration_sha256": record.configuration,
        "data_sha256": record.data,
        "passages_sha256": passages.get("sha256", ""),
        "encoder": passages.get("encoder", ""),
        "served": "; ".join(served),
        "all_seeds": _seeds(record),
        "starmill": record.versions.get("starmill", ""),
        "repeat": record.line,
    }
