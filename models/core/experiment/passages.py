"""The section `passages` of the experiment: the documentation, how it is found, what of it is shown."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from models.core.experiment.endpoints import Count, StrictModel, Whole

Method = Literal["dense", "bm25", "fusion", "weighted", "learned"]
Control = Literal["oracle", "random", "filler"]

# What a cell of the grid calls the section as it stands; alternatives are called by their own names.
BASE: Final = "retrieval"
# Words that say something else where cells and tables name an alternative.
TAKEN = {BASE, "augmented", "first_pass", "no", "none", "star", "yes"}


def _is_free(name: str) -> str:
    if name in TAKEN:
        raise ValueError(f"{name} means something else in the names of cells; call it otherwise")
    return name


# Short, so that every cell's name fits its column in the ledger.
AlternativeName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"), AfterValidator(_is_free)
]


class EvidenceWeights(StrictModel):
    """What `method: weighted` adds up for each candidate; scores of dense and bm25 are standardised first."""

    dense: float = 1.0
    bm25: float = 0.15
    symbols: float = 0.3
    library: float = 0.3
    solved: float = 0.5


class Corpus(StrictModel):
    """What decides the index: import `packages` (or `stdlib`), or the file `path`; and the `encoder`."""

    source: Literal["installed", "jsonl", "devdocs", "sphinx"] = "installed"
    path: str | None = None
    packages: list[str] = Field(["stdlib"])
    encoder: str = "minilm"


class Search(StrictModel):
    """How documentation is found: `strip_literals` (quoted literals and variables leave the query); `query`
    (an augmentation is joined to the request, as in the paper, or each of its steps is embedded apart and
    added); `reranker` (a folder)."""

    method: Method = "dense"
    query: Literal["joined", "steps"] = "joined"
    strip_literals: bool = False
    weights: EvidenceWeights = EvidenceWeights()
    reranker: str | None = None


class Selection(StrictModel):
    """What is shown of what was found.

    `min_score` is the least score, `relative_score` the least share of the best one; `distinct` leaves out
    passages of a name or text that is shown already; `token_budget` is for all passages of a request. Not
    `labelled` with name and arguments, the texts are joined to one, as in the paper. A `control` shows
    other passages in place of those found: the right ones, or as much random or empty text.
    """

    top_k: Annotated[Whole, Field(ge=1, le=100)] = 3
    min_score: float | None = None
    relative_score: Annotated[float, Field(gt=0, le=1)] | None = None
    distinct: bool = False
    token_budget: Count | None = None
    form: Literal["full", "first_sentence", "signature"] = "full"
    labelled: bool = True
    order: Literal["best_first", "best_last"] = "best_first"
    control: Control | None = None

    @model_validator(mode="after")
    def _leaves_something_to_show(self) -> Self:
        if self.form == "signature" and not self.labelled:
            raise ValueError("form signature shows labels alone; set labelled: true, or another form")
        return self


class Alternative(Selection, Search):
    """The keys of `passages` that differ; only these are kept when the experiment is frozen."""

    @model_validator(mode="before")
    @classmethod
    def _keeps_the_corpus(cls, value: Any) -> Any:
        if isinstance(value, dict) and (keys := [key for key in Corpus.model_fields if key in value]):
            raise ValueError(
                f"cannot change {keys[0]}: another corpus or encoder needs an experiment of its own"
            )
        return value

    @model_serializer(mode="wrap")
    def _what_differs(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if key in self.model_fields_set}


class Passages(Selection, Search, Corpus):
    """The corpus, the search, and what is shown of what was found.

    `alternatives` name further ways to search and show; the grid's axis `retrieval` takes their names.
    """

    alternatives: dict[AlternativeName, Alternative] = Field({})

    @model_validator(mode="after")
    def _source_is_complete(self) -> Self:
        if self.source != "installed" and not self.path:
            raise ValueError(f"source {self.source} needs a path")
        if self.source == "installed" and not self.packages:
            raise ValueError("source installed needs at least one package")
        return self

    @model_validator(mode="after")
    def _alternatives_differ(self) -> Self:
        known = [("passages itself, which grid.retrieval calls true", self._bare())]
        for name in self.alternatives:
            try:
                resolved = self.named(name)
            except ValidationError as error:
                said = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"alternatives.{name}: {said}") from None
            if same := [other for other, passages in known if passages == resolved]:
                raise ValueError(f"alternatives.{name} is the same as {same[0]}; change a key, or remove it")
            known.append((f"alternatives.{name}", resolved))
        return self

    def named(self, name: str) -> Passages:
        """The settings that a cell's `retrieval` names: BASE, or an alternative. Raises KeyError."""
        if name == BASE:
            return self
        return Passages.model_validate(self._bare().model_dump() | self.alternatives[name].model_dump())

    def _bare(self) -> Passages:
        return self.model_copy(update={"alternatives": {}})
