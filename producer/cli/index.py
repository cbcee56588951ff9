"""`starmill index`: the passages of an experiment, built and searched."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.common import JsonOption, console, messages, print_json, progress_bar
from producer.cli.index_quantize import quantize
from producer.cli.index_train import train
from producer.experiments import load_experiment
from producer.index import build_index
from storage.passages.retriever import Retriever
from storage.settings import load_settings

app = typer.Typer(help="Build and search the passages of an experiment.")
app.command()(train)
app.command()(quantize)
ExperimentArgument = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="a preset or a YAML file")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a value of the experiment")
]


@app.command()
def build(experiment: ExperimentArgument, set_: SetOption = None) -> None:
    """Encode the passages that are new, and write the snapshot that workers search."""
    settings = load_settings()
    passages = load_experiment(experiment, set_ or []).passages
    with progress_bar() as progress:
        bar = progress.add_task("encoding passages", total=None)
        index = build_index(
            passages,
            settings.milvus,
            settings.root,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    messages().print(f"index {index.name}: {index.count:,} passages, {index.encoded:,} newly encoded")


@app.command()
def search(
    experiment: ExperimentArgument,
    query: Annotated[str, typer.Argument(help="a request, as a dataset would hold it")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The passages nearest to a request, best first."""
    settings = load_settings()
    passages = load_experiment(experiment, set_ or []).passages
    hits = Retriever(passages, settings.root).search([query])[0]
    if as_json:
        print_json({"query": query, "hits": [
            {"id": hit.passage.id, "score": round(hit.score, 4), "text": hit.passage.text} for hit in hits
        ]})  # fmt: skip
        return
    for hit in hits:
        console().print(f"{hit.score:.3f} {hit.passage.id}: {hit.passage.text}")
