"""`starmill index build`, `index search` and `index evaluate`: the passages of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from rich.table import Table

from models.core.errors import UsageError
from models.core.experiment.passages import BASE, Method, Passages
from models.core.types import Query
from producer.cli.common import ExperimentArgument, JsonOption, SetOption, print_json
from producer.experiments.datasets import read_dataset
from producer.experiments.load import load_experiment
from producer.index import require_passages
from producer.index.evaluation import (
    RetrievalScores,
    count_unknown,
    evaluate,
    make_queries,
    read_augmentations,
)
from producer.index.index_progress import bring_up_to_date
from producer.safe_console import console, messages
from storage.passages.retriever import Retriever
from storage.settings import load_settings


def build(experiment: ExperimentArgument, set_: SetOption = None) -> None:
    """Encode new passages, write the index that workers search, and train the searches that learn."""
    settings = load_settings()
    index, learned = bring_up_to_date(load_experiment(experiment, set_ or []), settings)
    messages().print(str(index))
    if learned:
        messages().print(f"it has learned from {learned:,} train examples")


def search(
    experiment: ExperimentArgument,
    query: Annotated[str, typer.Argument(help="a request, as a dataset would hold it")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages nearest to a request, best first."""
    settings = load_settings()
    chosen = load_experiment(experiment, set_ or [])
    retriever = Retriever(require_passages(chosen), settings.root, experiment=chosen)
    hits = retriever.search([Query(query)])[0]
    if as_json:
        print_json({"query": query, "hits": [
            {"id": hit.passage.id, "score": round(hit.score, 4), "text": hit.passage.text,
             "scores": {name: round(score, 4) for name, score in hit.scores.items()}} for hit in hits
        ]})  # fmt: skip
        return
    for hit in hits:
        console().print(f"{hit.score:.3f} {hit.passage.id}: {hit.passage.text}")


CUTS = "1,3,5,10,20"
METHODS = get_args(Method)
MEANS = ("mrr", "precision", "none_right", "abstained", "shown")


def evaluate_index(
    experiment: ExperimentArgument,
    set_: SetOption = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="whose requests are asked")] = "test",
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="in place of the experiment's own searches; repeatable, or all"),
    ] = None,
    k: Annotated[str, typer.Option(metavar="K,K", help="places at which recall is cut")] = CUTS,
    augmentations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="lines of question_id, augmentation")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the recall of the right passages, and the precision of those that would be shown."""
    chosen = load_experiment(experiment, set_ or [])
    cuts = _cuts(k)
    passages = require_passages(chosen)
    searches = _searches(passages, method or [])
    added = read_augmentations(augmentations) if augmentations else {}
    queries = make_queries(read_dataset(chosen)[split], added)
    retriever = Retriever(_indexed(passages, searches), load_settings().root, experiment=chosen)
    missing = count_unknown(queries, lambda name: bool(retriever.lookup([name])), chosen.rows_path)
    if missing:
        messages().print(f"{missing:,} right passages are not in the index: they count as not found")
    results = {name: evaluate(retriever.search, how, queries, cuts) for name, how in searches.items()}
    if as_json:
        print_json({"split": split, "methods": {name: _entry(each) for name, each in results.items()}})
        return
    _print(results, cuts)


def _cuts(text: str) -> list[int]:
    cuts = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if not cuts or len(cuts) != len(text.split(",")) or min(cuts) < 1:
        raise UsageError(f"--k {text}: give whole numbers from 1, as in --k {CUTS}")
    return sorted(set(cuts))


def _searches(passages: Passages, wanted: list[str]) -> dict[str, Passages]:
    """Return the experiment's own searches without the controls, or its section with each wanted method."""
    if not wanted:
        names = [BASE, *passages.alternatives]
        own = {name: passages.named(name) for name in names}
        return {
            (each.method if name == BASE else name): each for name, each in own.items() if not each.control
        }
    if "all" in wanted:
        wanted = list(METHODS)
    if unknown := [name for name in wanted if name not in METHODS]:
        raise UsageError(f"--method {unknown[0]}: there is no such method; take all, {', '.join(METHODS)}")
    return {name: passages.model_copy(update={"method": name}) for name in wanted}


def _indexed(passages: Passages, searches: Mapping[str, Passages]) -> Passages:
    """Return settings whose index serves all these searches: without vectors, only bm25 is served."""
    first = next((each for each in searches.values() if each.needs_vectors), passages)
    return passages if passages.needs_vectors else first


def _entry(result: RetrievalScores) -> dict[str, Any]:
    return {
        "n": result.n,
        "rows": result.rows,
        "recall": {str(k): round(value, 2) for k, value in result.recall.items()},
        "intervals": {str(k): [round(low, 2), round(high, 2)] for k, (low, high) in result.intervals.items()},
        "docprompting": {str(k): round(value, 2) for k, value in result.docprompting.items()},
        **{name: round(getattr(result, name), 2) for name in MEANS},
    }


def _print(results: dict[str, RetrievalScores], cuts: list[int]) -> None:
    last = cuts[-1]
    table = Table("method", box=None, pad_edge=False)
    for heading in (
        *(f"R@{k}" for k in cuts), f"95 % of R@{last}", f"R@{last} DocPrompting", "MRR",
        "precision shown", "none right", "abstained",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for name, each in results.items():
        low, high = each.intervals[last]
        shares = (each.docprompting[last], each.mrr, each.precision, each.none_right, each.abstained)
        table.add_row(
            name,
            *(f"{each.recall[k]:.1f}" for k in cuts),
            f"[{low:.1f}, {high:.1f}]",
            *(f"{share:.1f}" for share in shares),
        )
    console().print(table)
    one = next(iter(results.values()))
    console().print(
        f"{one.n:,} rows name right passages; DocPrompting counts the other {one.rows - one.n:,} as found"
    )
