"""`starmill index build` and `starmill index search`: the passages of an experiment."""

from __future__ import annotations

from typing import Annotated

import typer

from models.types import Query
from producer.cli.common import JsonOption, console, messages, print_json
from producer.cli.indexing import bring_up_to_date
from producer.experiments import load_experiment
from storage.passages.retriever import Retriever
from storage.settings import load_settings

ExperimentArgument = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment")
]


def build(experiment: ExperimentArgument, set_: SetOption = None) -> None:
    """Encode the passages that are new, write what workers search, and learn where a search learns."""
    settings = load_settings()
    index, learned = bring_up_to_date(load_experiment(experiment, set_ or []), settings)
    messages().print(f"index {index.name}: {index.count:,} passages, {index.encoded:,} newly encoded")
    if learned:
        messages().print(f"it has learned from {learned:,} train examples")


def search(
    experiment: ExperimentArgument,
    query: Annotated[str, typer.Argument(help="a request, as a dataset would hold it")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The passages nearest to a request, best first."""
    settings = load_settings()
    chosen = load_experiment(experiment, set_ or [])
    retriever = Retriever(chosen.passages, settings.root, dataset=chosen.dataset)
    hits = retriever.search([Query(query)])[0]
    if as_json:
        print_json({"query": query, "hits": [
            {"id": hit.passage.id, "score": round(hit.score, 4), "text": hit.passage.text,
             "scores": {name: round(score, 4) for name, score in hit.scores.items()}} for hit in hits
        ]})  # fmt: skip
        return
    for hit in hits:
        console().print(f"{hit.score:.3f} {hit.passage.id}: {hit.passage.text}")
