"""Score a passage search on the requests whose right passages the dataset names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.core.errors import DatasetError, UsageError
from models.core.experiment.passages import Passages
from models.core.metrics.scores import mean_interval, mean_percent, recall, reciprocal_rank
from models.core.metrics.significance import Interval
from models.core.retrieval.passage_selection import filter_hits
from models.core.types import Example, Hit, Query
from producer.results.score_files import keyed_rows, text_field

QUERIES_PER_BATCH = 256
SearchFunction = Callable[[Sequence[Query], int, Passages], list[list[Hit]]]


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Scores in percent, over the `n` rows that name a right passage; `recall` is by its k.

    DocPrompting counts all other rows as hits: `docprompting` is its recall, over `rows` rows. Of the
    passages that a prompt would show, `precision` is the share of right ones, `none_right` the share of rows
    without a right one, `abstained` that of rows without a passage, and `shown` the mean number of passages.
    """

    n: int
    rows: int
    recall: Mapping[int, float]
    intervals: Mapping[int, Interval]
    docprompting: Mapping[int, float]
    mrr: float
    precision: float
    none_right: float
    abstained: float
    shown: float


def read_augmentations(path: Path) -> dict[str, list[str]]:
    """Return the augmentations of each question id in their order. Raises DatasetError."""
    augmentations: dict[str, list[str]] = {}
    for line, key, row in keyed_rows(path):
        augmentations.setdefault(key, []).append(text_field(path, line, row, "augmentation"))
    return augmentations


def make_queries(examples: Iterable[Example], augmentations: Mapping[str, Sequence[str]]) -> list[Query]:
    """Return a query for each example: the last of an id has the last augmentation, the one before that the
    one before. Raises UsageError if no example names a right passage."""
    left = {key: list(texts) for key, texts in augmentations.items()}
    queries = []
    for each in reversed([*examples]):
        texts = left.get(each.question_id)
        text = texts.pop() if texts else ""
        queries.append(Query(each.request, text, each.question_id, each.oracle))
    queries.reverse()
    if not any(query.oracle for query in queries):
        raise UsageError(
            "no row of the split names its right passages; map their field with dataset.fields.oracle"
        )
    return queries


def evaluate(
    find: SearchFunction, passages: Passages, queries: Sequence[Query], cuts: Sequence[int]
) -> RetrievalScores:
    """Score the search `find`, called with queries, depth and `passages`, at each k of `cuts`."""
    depth = max(*cuts, passages.top_k)
    results: list[list[Hit]] = []
    for start in range(0, len(queries), QUERIES_PER_BATCH):
        results += find(queries[start : start + QUERIES_PER_BATCH], depth, passages)
    known = [(hits, query.oracle) for hits, query in zip(results, queries, strict=True) if query.oracle]
    ids = [([hit.passage.id for hit in hits], right) for hits, right in known]
    shown = [([hit.passage.id for hit in filter_hits(hits, passages)], right) for hits, right in known]
    recalls = {k: [recall(names, right, k) for names, right in ids] for k in cuts}
    free = len(queries) - len(known)
    return RetrievalScores(
        n=len(known),
        rows=len(queries),
        recall={k: mean_percent(values) for k, values in recalls.items()},
        intervals={k: mean_interval(values) for k, values in recalls.items()},
        docprompting={k: mean_percent([*values, *[1.0] * free]) for k, values in recalls.items()},
        mrr=mean_percent([reciprocal_rank(names, right) for names, right in ids]),
        precision=mean_percent([float(name in right) for names, right in shown for name in names]),
        none_right=mean_percent([float(not set(names) & set(right)) for names, right in shown]),
        abstained=mean_percent([float(not names) for names, _ in shown]),
        shown=sum(len(names) for names, _ in shown) / len(shown),
    )


def count_unknown(queries: Sequence[Query], known: Callable[[str], bool], path: str) -> int:
    """Count the right passages that the index lacks. Raises DatasetError if it lacks all of them."""
    names = {name for query in queries for name in query.oracle}
    missing = sum(not known(name) for name in names)
    if missing == len(names):
        raise DatasetError(path, None, "names no passage of the index; check passages.path and the ids")
    return missing
