"""What a reader must know to read the tables right."""

from __future__ import annotations

from collections.abc import Sequence

from producer.report.tables import TableRow

INTERVALS = "Scores are in percent, with 95 % intervals by the percentile bootstrap over rows."


def notes(state: str, left: int, seeds: int, table: Sequence[TableRow]) -> tuple[str, ...]:
    """Sentences on the run as a whole, then on single cells."""
    found = []
    missing = sum(row.planned - row.n for row in table)
    if left:
        found.append(f"The run is {state}: {left:,} units are open; the numbers are of what is done so far.")
    elif missing:
        found.append(f"{missing:,} planned answers failed; they have no score and are not in n.")
    if seeds > 1:
        found.append(f"Scores are means over {seeds} seeds; n counts the answers of all of them.")
    if fewer := [_fewer(row) for row in table if row.fewer]:
        found.append(f"Shown fewer exemplars than shots, as there were no more: {'; '.join(fewer)}.")
    if shortened := [_shortened(row) for row in table if row.shortened]:
        found.append(f"Left out where the model's context had no room: {'; '.join(shortened)}.")
    if truncated := [_truncated(row) for row in table if row.truncated]:
        found.append(f"Cut off at the token limit: {'; '.join(truncated)}.")
    return tuple(found)


def _fewer(row: TableRow) -> str:
    return f"{row.cell.variant} ({row.fewer:,} of {row.answers:,} answers, {row.shown:.2f} on average)"


def _shortened(row: TableRow) -> str:
    passages, exemplars = row.dropped
    return (
        f"{row.cell.variant} ({passages:,} passages and {exemplars:,} exemplars in {row.shortened:,} of "
        f"{row.answers:,} answers)"
    )


def _truncated(row: TableRow) -> str:
    return f"{row.cell.variant} ({row.truncated:,} of {row.answers:,} answers)"
