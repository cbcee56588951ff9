"""The words of a corpus: BM25 (Robertson and Zaragoza 2009), and the words of passages' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.core.retrieval.name_groups import Integers, NameGroups, group_names
from models.core.types import Passage
from models.core.words import terms

Matrix: TypeAlias = "sparse.csr_array"
Floats = NDArray[np.float32]
# Documents are paragraphs, so a repeated word counts little more than a single one.
K1 = 0.9
B = 0.4
# Characters of a signature that count. The rest is often sample code.
SIGNATURE = 200


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The words of each passage, as columns or rows of a `vocabulary`.

    `weights` and `name_weights`, [vocabulary, passages], are BM25 weights in the whole passage and in its
    name. `names` and `last`, [passages, vocabulary], mark the words of the dotted name and of its last part.
    `library`, [passages], holds indices of `libraries`; `text_length` is in characters. `groups`
    number the groups of alike names, [passages] for each kind.
    """

    vocabulary: Mapping[str, int]
    idf: Floats
    weights: Matrix
    name_weights: Matrix
    names: Matrix
    last: Matrix
    libraries: Sequence[str]
    library: NDArray[np.int64]
    text_length: Floats
    groups: NameGroups[Integers]

    def bag(self, texts: Sequence[str]) -> Matrix:
        """Mark the words of each text, [texts, vocabulary]."""
        bags = ({self.vocabulary[term] for term in terms(text) if term in self.vocabulary} for text in texts)
        return _matrix((dict.fromkeys(bag, 1.0) for bag in bags), len(self.vocabulary))


def bm25_scores(words: Matrix, weights: Matrix) -> Floats:
    """Return BM25 of each passage, [texts, passages], given the marked `words` of texts."""
    scores: Floats = (words @ weights).toarray()
    return scores


def build_lexicon(passages: Iterable[Passage]) -> Lexicon:
    """Return the lexicon of a corpus of at least one passage."""
    vocabulary: dict[str, int] = {}
    whole, names, last, libraries, lengths = [], [], [], [], []
    passages = list(passages)
    for passage in passages:
        own = f"{passage.library} {passage.name}"
        whole.append(_counts(f"{own} {passage.text} {passage.signature[:SIGNATURE]}", vocabulary))
        names.append(_counts(own, vocabulary))
        last.append(_counts(passage.name.rpartition(".")[2], vocabulary))
        libraries.append(passage.library)
        lengths.append(len(passage.text))
    known = sorted(set(libraries))
    index = {name: number for number, name in enumerate(known)}
    idf = _idf(whole, len(vocabulary))
    return Lexicon(
        vocabulary=vocabulary,
        idf=idf,
        weights=_matrix(_bm25(whole, idf), len(vocabulary)).T.tocsr(),
        name_weights=_matrix(_bm25(names, _idf(names, len(vocabulary))), len(vocabulary)).T.tocsr(),
        names=_matrix(_marks(names), len(vocabulary)),
        last=_matrix(_marks(last), len(vocabulary)),
        libraries=known,
        library=np.array([index[name] for name in libraries], dtype=np.int64),
        text_length=np.array(lengths, dtype=np.float32),
        groups=group_names(passages),
    )


def _counts(text: str, vocabulary: dict[str, int]) -> Counter[int]:
    return Counter(vocabulary.setdefault(term, len(vocabulary)) for term in terms(text))


def _idf(documents: Sequence[Counter[int]], size: int) -> Floats:
    holding = np.bincount([term for document in documents for term in document], minlength=size)
    odds: Floats = np.log1p((len(documents) - holding + 0.5) / (holding + 0.5)).astype(np.float32)
    return odds


def _bm25(documents: Sequence[Counter[int]], idf: Floats) -> Iterator[dict[int, float]]:
    mean = sum(document.total() for document in documents) / len(documents) or 1.0
    for document in documents:
        norm = K1 * (1 - B + B * document.total() / mean)
        yield {term: float(idf[term]) * times * (K1 + 1) / (times + norm) for term, times in document.items()}


def _marks(documents: Sequence[Counter[int]]) -> Iterator[dict[int, float]]:
    return (dict.fromkeys(document, 1.0) for document in documents)


def _matrix(rows: Iterable[Mapping[int, float]], columns: int) -> Matrix:
    indices: list[int] = []
    values: list[float] = []
    ends = [0]
    for row in rows:
        indices += row.keys()
        values += row.values()
        ends.append(len(indices))
    return sparse.csr_array(
        (np.array(values, dtype=np.float32), np.array(indices, dtype=np.int32), np.array(ends)),
        shape=(len(ends) - 1, columns),
    )
