"""Scores of `{"question_id", "prediction", "reference"}` lines."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import DatasetError
from models.metrics import WIDTH, Interval, as_judged, intervals, row_stats, scores
from producer.judging import Rules
from producer.judging.fields import key_field, text_field
from producer.judging.references import References
from storage.jsonl import read_objects


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and 95 % intervals in percent, by name; `repeated` rows gave way to a later one of their id."""

    n: int
    repeated: int
    scores: dict[str, float]
    intervals: dict[str, Interval]


def score_file(
    path: Path, rules: Rules, references: References | None = None, *, with_intervals: bool = False
) -> Scored:
    """Reads line by line, and keeps a few hundred bytes a row. Where an id repeats, its last row counts.
    Rows bring their own references, unless `references` are given.

    Raises DatasetError with file, line and reason.
    """
    # 4 bytes a number: no row has two thousand million n-grams.
    stats, places, read = array("i"), dict[str, int](), 0
    for number, row in read_objects(path):
        key = key_field(path, number, row)
        right = references.of(key, path, number) if references else text_field(path, number, row, "reference")
        pair = as_judged(rules, text_field(path, number, row, "prediction"), right)
        found = array("i", row_stats(*pair).tolist())
        place = places.setdefault(key, len(places)) * WIDTH
        stats[place : place + WIDTH] = found
        read += 1
    if not places:
        raise DatasetError(path, None, "holds no rows")
    table = np.frombuffer(stats, dtype=np.int32).reshape(-1, WIDTH)
    return Scored(
        n=len(places),
        repeated=read - len(places),
        scores=scores(table),
        intervals=intervals(table) if with_intervals else {},
    )
