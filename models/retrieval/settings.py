"""The section `passages` of the experiment: the documentation, how it is found, what of it is shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.endpoints import Count, Name, Section, Whole

Method = Literal["dense", "bm25", "fusion", "weighted", "learned"]
Control = Literal["oracle", "random", "filler"]


class Weights(Section):
    """What `method: weighted` adds up for each candidate; scores of dense and bm25 are standardised first."""

    dense: float = 1.0
    bm25: float = 0.15
    symbols: float = 0.3
    library: float = 0.3
    solved: float = 0.5


class Passages(Section):
    """Three groups of keys.

    The corpus, which decides the index: `source`, `path`, `packages` (import packages, or `stdlib`) and
    `encoder`.

    The search: `method`; `strip_literals` (quoted literals and variables leave the query); `query` (an
    augmentation is joined to the request, as in the paper, or each of its steps is embedded apart and added);
    `weights`; `reranker` (a folder).

    What is shown of what was found: `top_k`; `min_score`, below which nothing is shown, and `relative_score`,
    the same as a share of the best score; `distinct`; `token_budget` in tokens for all passages of a request;
    `form`, `labelled` and `order`. A `control` shows other passages in place of those found: the right ones,
    or as much random or empty text.

    `alternatives` name further ways to search and show, each as the keys of this section that differ; the
    grid's axis `retrieval` takes their names.
    """

    source: Literal["installed", "jsonl", "devdocs", "sphinx"] = "installed"
    path: str | None = None
    packages: list[str] = Field(["stdlib"])
    encoder: str = "minilm"

    method: Method = "dense"
    query: Literal["joined", "steps"] = "joined"
    strip_literals: bool = False
    weights: Weights = Weights()
    reranker: str | None = None

    top_k: Annotated[Whole, Field(ge=1, le=100)] = 3
    min_score: float | None = None
    relative_score: Annotated[float, Field(gt=0, le=1)] | None = None
    distinct: bool = False
    token_budget: Count | None = None
    form: Literal["full", "first_sentence", "signature"] = "full"
    labelled: bool = True
    order: Literal["best_first", "best_last"] = "best_first"
    control: Control | None = None

    alternatives: dict[Name, dict[str, Any]] = Field({})

    @model_validator(mode="after")
    def _source_is_complete(self) -> Self:
        if self.source != "installed" and not self.path:
            raise ValueError(f"source {self.source} needs a path")
        if self.source == "installed" and not self.packages:
            raise ValueError("source installed needs at least one package")
        return self
