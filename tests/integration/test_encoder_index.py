"""Indexes built and searched with encoders of every layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.adapters.encoders import open_encoder
from models.adapters.encoders.checkpoint import find_checkpoint
from models.adapters.encoders.encoder import passage_text
from models.core.errors import ServiceError
from models.core.experiment.passages import Passages
from models.core.types import Query
from producer.index.build_index import build_index
from storage.passages.retriever import Retriever
from storage.passages.snapshot import Snapshot
from tests.support.chores import write_data
from tests.support.encoders import tiny_bert, tiny_codet5


@pytest.fixture
def config(tmp_path: Path) -> Passages:
    data = write_data(tmp_path / "data", train=1, test=1)
    encoder = tiny_codet5(tmp_path / "encoder")
    return Passages(source="jsonl", path=str(data / "passages.jsonl"), encoder=str(encoder), top_k=5)


@pytest.mark.parametrize("options", [{}, {"normalize": False, "template": "{name}, {text}"}])
def test_search_agrees_with_the_inner_products(
    config: Passages, options: dict[str, object], tmp_path: Path
) -> None:
    folder = Path(config.encoder)
    (folder / "starmill.json").write_text(json.dumps(options))
    index = build_index(config, str(tmp_path / "milvus.db"), tmp_path)
    encoder = open_encoder(config.encoder)
    [query] = encoder.encode(["sort the list"])
    snapshot = Snapshot.open(index.path, encoder.fingerprint)
    passages = [snapshot.passage(row) for row in range(len(snapshot))]
    scores = encoder.encode([passage_text(each, encoder.template) for each in passages]) @ query
    [hits] = snapshot.search(query[None], 5)
    assert [hit.passage.id for hit in hits] == [passages[row].id for row in np.argsort(-scores)[:5]]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:5], rtol=1e-4)
    assert (max(scores) > 1.5) == (options.get("normalize") is False)


def test_index_of_an_encoder_that_has_changed_is_not_searched(config: Passages, tmp_path: Path) -> None:
    index = build_index(config, str(tmp_path / "milvus.db"), tmp_path)
    (Path(config.encoder) / "starmill.json").write_text(json.dumps({"max_tokens": 100}))
    changed = find_checkpoint(config.encoder).fingerprint
    with pytest.raises(ServiceError, match="build it again with `starmill index build`"):
        Snapshot.open(index.path, changed)
    again = build_index(config, str(tmp_path / "milvus.db"), tmp_path)
    assert again.encoded == len(Snapshot.open(again.path, changed))
    assert str(again).endswith("newly encoded since another encoder had made the index")


def test_another_folder_is_another_index(config: Passages, tmp_path: Path) -> None:
    other = config.model_copy(update={"encoder": str(tiny_bert(tmp_path / "other"))})
    built = [build_index(each, str(tmp_path / "milvus.db"), tmp_path) for each in (config, other)]
    assert built[0].path != built[1].path
    assert built[0].fingerprint != built[1].fingerprint


def test_words_are_searched_without_an_encoder(config: Passages, tmp_path: Path) -> None:
    words = config.model_copy(update={"method": "bm25", "encoder": "/no/encoder"})
    index = build_index(words, str(tmp_path / "milvus.db"), tmp_path)
    assert not (tmp_path / "milvus.db").exists()
    [hits] = Retriever(words, tmp_path).search([Query("join the strings")])
    assert hits[0].passage.id == "lib.str.join"
    dense = build_index(config, str(tmp_path / "milvus.db"), tmp_path)
    assert dense.path != index.path
    asked = [Query("join the strings")]
    assert Retriever(config, tmp_path).search(asked, how=words)[0] == hits
    with pytest.raises(ServiceError, match="neither minilm nor a folder"):
        Retriever(words, tmp_path).search(asked, how=config)
