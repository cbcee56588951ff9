"""The section `passages` of the experiment: the corpus, the search, and the selection that prompts show."""

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

# The name of the section in a cell of the grid. Alternatives have their own names.
BASE: Final = "retrieval"
# Words with another meaning in cells and tables.
RESERVED_NAMES = {BASE, "augmented", "first_pass", "no", "none", "star", "yes"}


def _is_free(name: str) -> str:
    if name in RESERVED_NAMES:
        raise ValueError(f"{name} means something else in the names of cells; call it otherwise")
    return name


# Short, so that every cell's name fits its column in the ledger.
AlternativeName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"), AfterValidator(_is_free)
]


class EvidenceWeights(StrictModel):
    """The weights of `method: weighted`; scores of dense and bm25 are standardised first."""

    dense: float = 1.0
    bm25: float = 0.15
    symbols: float = 0.3
    library: float = 0.3
    solved: float = 0.5


class Corpus(StrictModel):
    """The content of the index: import `packages` (or `stdlib`), or the file `path`; and the `encoder`."""

    source: Literal["installed", "jsonl", "devdocs", "sphinx"] = "installed"
    path: str | None = None
    packages: list[str] = Field(["stdlib"])
    encoder: str = "minilm"


class Search(StrictModel):
    """The search for documentation.

    `strip_literals` removes quoted literals and variables from the query. `query` joins an augmentation to
    the request as in the paper, or embeds and adds each of its steps. `reranker` is a folder.
    """

    method: Method = "dense"
    query: Literal["joined", "steps"] = "joined"
    strip_literals: bool = False
    weights: EvidenceWeights = EvidenceWeights()
    reranker: str | None = None


class Selection(StrictModel):
    """The passages of a search that are shown.

    `min_score` is the smallest score, `relative_score` the smallest share of the best score. `distinct`
    leaves out passages with a name or text that is already shown. `token_budget` limits all passages of a
    request. Texts that are not `labelled` with name and arguments are joined to one, as in the paper. A
    `control` shows other passages: the right ones, or random or empty text of the same length.
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
    """The keys of `passages` that differ. Only these are kept when the experiment is frozen."""

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
    """The corpus, the search, and the selection.

    `alternatives` name other searches and selections, for the grid's axis `retrieval`.
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
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"alternatives.{name}: {message}") from None
            if same := [other for other, passages in known if passages == resolved]:
                raise ValueError(f"alternatives.{name} is the same as {same[0]}; change a key, or remove it")
            known.append((f"alternatives.{name}", resolved))
        return self

    @property
    def needs_vectors(self) -> bool:
        """Return whether a search compares vectors. Words need no encoder, right passages no search."""
        searches = map(self.named, (BASE, *self.alternatives))
        return any(each.method != "bm25" and each.control != "oracle" for each in searches)

    def named(self, name: str) -> Passages:
        """Return the settings that a cell's `retrieval` names, BASE or an alternative. Raise KeyError."""
        if name == BASE:
            return self
        return Passages.model_validate(self._bare().model_dump() | self.alternatives[name].model_dump())

    def _bare(self) -> Passages:
        return self.model_copy(update={"alternatives": {}})
