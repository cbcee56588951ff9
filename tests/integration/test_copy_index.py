"""An index that one machine built, on another machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.core.errors import ServiceError
from models.core.experiment.passages import Passages
from models.core.types import Query
from producer.index.build_index import build_index
from storage.passages.retriever import Retriever
from storage.passages.snapshot import copy_missing_snapshot
from tests.support.encoders import tiny_bert

QUERIES = [Query("sort the list"), Query("join a string")]


@pytest.fixture
def config(tmp_path: Path) -> Passages:
    corpus = tmp_path / "docs.jsonl"
    texts = ("sort a list", "join strings", "the largest number")
    corpus.write_text("".join(json.dumps({"id": f"m.{text[:4]}", "text": text}) + "\n" for text in texts))
    return Passages(source="jsonl", path=str(corpus), encoder=str(tiny_bert(tmp_path / "encoder")))


def test_the_copy_answers_as_the_original(config: Passages, milvus_url: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    build_index(config, milvus_url, here)
    copy_missing_snapshot(config, milvus_url, there)
    hits = [Retriever(config, home).search(QUERIES) for home in (here, there)]
    assert hits[0] == hits[1]
    # What is there stays, whatever became of the server.
    copy_missing_snapshot(config, "http://127.0.0.1:1", there)


def test_index_of_words_is_copied_without_an_encoder(
    config: Passages, milvus_url: str, tmp_path: Path
) -> None:
    words = config.model_copy(update={"method": "bm25", "encoder": "/no/encoder"})
    build_index(words, milvus_url, tmp_path / "here")
    copy_missing_snapshot(words, milvus_url, tmp_path / "there")
    [hits] = Retriever(words, tmp_path / "there").search(QUERIES[:1])
    assert hits[0].passage.text == "sort a list"


def test_missing_index_is_named(config: Passages, milvus_url: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"holds no index passages_\w+; build it"):
        copy_missing_snapshot(config, milvus_url, tmp_path / "there")


def test_lite_folder_gives_no_snapshot_to_copy(config: Passages, tmp_path: Path) -> None:
    copy_missing_snapshot(config, str(tmp_path / "milvus.db"), tmp_path / "there")
    with pytest.raises(ServiceError, match="no passage index in"):
        Retriever(config, tmp_path / "there")
