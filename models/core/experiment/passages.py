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
# Methods that learn from the train split.
LEARNED: tuple[Method, ...] = ("weighted", "learned")
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
    """The weights of method `weighted`; scores of dense and bm25 are standardised first."""

    dense: float = 1.0
    """similarity"""
    bm25: float = 0.15
    """common words"""
    symbols: float = 0.3
    """words of the request in the passage's name"""
    library: float = 0.3
    """its library's share among similar train requests"""
    solved: float = 0.5
    """votes of train requests that name it"""


class Corpus(StrictModel):
    """The content of the index: import `packages` (or `stdlib`), or the file `path`; and the `encoder`."""

    source: Literal["installed", "jsonl", "devdocs", "sphinx"] = "installed"
    """`installed` packages, a `jsonl` file, a folder of `devdocs`, or HTML of `sphinx`"""
    path: str | None = None
    """the file or folder of the source"""
    packages: list[str] = Field(["stdlib"])
    """import packages, or `stdlib`, for `installed`"""
    encoder: str = "minilm"
    """`minilm`, a folder, or an ONNX file"""


class Search(StrictModel):
    """The search for documentation."""

    method: Method = "dense"
    """what ranks passages: vectors, words, both ranks, a weighted sum, or learned trees; the last two learn
    from all train rows"""
    query: Literal["joined", "steps"] = "joined"
    """an augmentation is `joined` to the request, or each of its steps is encoded and added"""
    strip_literals: bool = False
    """removes quoted literals and variables from the query"""
    weights: EvidenceWeights = EvidenceWeights()
    """the weights of `weighted`"""
    reranker: str | None = None
    """a folder with a cross-encoder that orders the fifty best anew"""


class Selection(StrictModel):
    """The passages of a search that are shown."""

    top_k: Annotated[Whole, Field(ge=1, le=100)] = 3
    """most passages that are shown"""
    min_score: float | None = None
    """the smallest score that is shown"""
    relative_score: Annotated[float, Field(gt=0, le=1)] | None = None
    """the smallest share of the best score"""
    distinct: bool = False
    """leaves out passages whose name or text is shown already"""
    token_budget: Count | None = None
    """tokens of all passages of a request; a token is four characters"""
    form: Literal["full", "first_sentence", "signature"] = "full"
    """how much of a passage is shown; `first_sentence` has the signature, too"""
    labelled: bool = True
    """each passage on a line with name and arguments; `false` joins the texts, as the paper does"""
    order: Literal["best_first", "best_last"] = "best_first"
    """`best_last` puts the best next to the request"""
    control: Control | None = None
    """other passages in place of those found: the right ones, `random` ones of like length, or `filler`
    text"""

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
    """The corpus, the search, and the passages that are shown."""

    alternatives: dict[AlternativeName, Alternative] = Field({})
    """other searches and selections by name, for `grid.retrieval`: the keys that differ, except those of the
    corpus"""

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
