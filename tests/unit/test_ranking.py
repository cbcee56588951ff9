"""Rankings of a corpus of four passages whose vectors are given."""

from __future__ import annotations

import numpy as np
import pytest

from models.core.experiment.passages import EvidenceWeights
from models.core.retrieval import ranking
from models.core.retrieval.evidence import Evidence, gather_evidence
from models.core.retrieval.features import FEATURES, features
from models.core.retrieval.lexicon import build_lexicon
from models.core.retrieval.solved_examples import solved_examples
from models.core.types import Passage

PASSAGES = [
    Passage("os.listdir", "os.listdir", "", "names of the entries of a folder", "os"),
    Passage("os.walk", "os.walk", "", "walk through a tree of folders", "os"),
    Passage("re.sub", "re.sub", "", "replace what matches", "re"),
    Passage("str.replace", "str.replace", "", "replace a part of a string", "str"),
]
VECTORS = np.eye(4, dtype=np.float32)
LEXICON = build_lexicon(PASSAGES)
SOLVED = solved_examples(VECTORS[:2], VECTORS[:2], ["1", "2"], [[1], [3]], VECTORS, LEXICON.groups)
USAGE = np.array([[3, 2, 1], [0, 0, 0], [2, 0, 0], [0, 5, 0]], dtype=np.float32)


def evidence(request: str, vector: list[float], solved: bool = False) -> Evidence:
    """Return the evidence for a request with this vector; solved examples vote if `solved`."""
    whole = np.array([vector], dtype=np.float32)
    [gathered] = gather_evidence(
        [request], whole, whole, VECTORS, LEXICON, SOLVED, USAGE, lambda _: np.full(2, solved)
    )
    return gathered


def test_bm25_ranks_by_words() -> None:
    ranked = ranking.rank_bm25(evidence("walk a tree", [1, 0, 0, 0]).bm25, 2)
    assert ranked[0].row == 1
    assert ranked[0].scores == {"bm25": pytest.approx(ranked[0].score)}


def test_fusion_adds_reciprocal_ranks() -> None:
    # First in the dense order and second by words; second and first: a tie, broken by the row.
    asked = evidence("replace a part", [0, 0, 1, 0.5])
    ranked = ranking.rank_fusion(asked.dense, asked.bm25, 4)
    assert [each.row for each in ranked[:2]] == [2, 3]
    assert ranked[0].score == ranked[1].score == pytest.approx(1 / 61 + 1 / 62)


def test_weights_decide() -> None:
    asked = evidence("os thing", [0, 0, 1, 0])
    silent = {"bm25": 0.0, "symbols": 0.0, "solved": 0.0}
    dense = ranking.rank_weighted(asked, LEXICON, EvidenceWeights(dense=1, library=0, **silent), 1)
    named = ranking.rank_weighted(asked, LEXICON, EvidenceWeights(dense=0, library=1, **silent), 1)
    assert (dense[0].row, named[0].row) == (2, 0)


def test_solved_examples_bring_their_passages() -> None:
    asked = evidence("anything", [0, 0, 0, 0], solved=True)
    ranked = ranking.rank_weighted(
        asked, LEXICON, EvidenceWeights(dense=0, bm25=0, symbols=0, library=0, solved=1), 2
    )
    assert {each.row for each in ranked} == {1, 3}


def test_learned_ranking_sees_every_named_feature() -> None:
    asked = evidence("walk `x` in os", [0.1, 0.2, 0.3, 0.4], solved=True)
    table = features(asked, np.arange(4), LEXICON)
    assert table.shape == (4, len(FEATURES))
    column = {name: table[:, index].tolist() for index, name in enumerate(FEATURES)}
    assert column["dense"] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert column["dense_rank"] == [3, 2, 1, 0]
    assert column["library_named"] == [1, 1, 0, 0]
    assert column["last_cover"] == [0, 1, 0, 0]
    # os.walk is named by one example, str.replace by the other, which is nearer.
    owner = column["owner_share"]
    assert owner == column["page_share"]
    assert owner == pytest.approx([owner[0], owner[0], 0, 1 - owner[0]])
    assert 0 < owner[0] < 0.5
    assert column["owner_popular"] == pytest.approx(np.log1p([1, 1, 0, 1]).tolist())
    assert column["qualified_uses"] == [3, 0, 2, 0]
    index = FEATURES.index("dense_rank")
    ranked = ranking.rank_learned(asked, LEXICON, lambda rows: rows[:, index].astype(float), 4)
    assert [each.row for each in ranked] == [0, 1, 2, 3]
