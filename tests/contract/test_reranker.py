"""Cross-encoders, with random weights, against transformers itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from models.adapters.encoders.transformers_encoder import Reranker
from models.core.errors import ServiceError
from models.core.experiment.passages import Passages
from models.core.types import Query
from producer.index.build_index import build_index
from storage.passages.retriever import Retriever
from tests.support.encoders import tiny_bert

TEXTS = ["sort a list", "join the string of a number", "largest"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with one output beside its tokenizer."""
    path = tiny_bert(tmp_path_factory.mktemp("reranker"))
    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(path, num_labels=1)
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    return path


def test_scores_are_those_of_the_model(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = []
    for text in TEXTS:
        with torch.inference_mode():
            expected.append(model(**tokenizer("get", text, return_tensors="pt")).logits.item())
    assert Reranker(str(folder)).scores("get", TEXTS).tolist() == pytest.approx(expected, abs=1e-5)
    assert Reranker(str(folder)).scores("get", []).tolist() == []
    assert len(Reranker(str(folder)).scores("get " * 1000, ["sort " * 1000] * 40)) == 40


def test_a_model_that_would_rank_at_random_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ServiceError, match=r"^passages\.reranker: .* lacks 2 weights of its model, such as classifier\.bias"
    ):
        Reranker(str(tiny_bert(tmp_path)))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"passages.reranker: .* holds no config.json"):
        Reranker(str(tmp_path))


def test_the_retriever_orders_by_it(folder: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text("".join(json.dumps({"id": f"m.{number}", "text": text}) + "\n"
                              for number, text in enumerate(TEXTS)))  # fmt: skip
    config = Passages(source="jsonl", path=str(corpus), encoder=str(tiny_bert(tmp_path / "encoder")))
    build_index(config, str(tmp_path / "milvus.db"), tmp_path)
    retriever = Retriever(config, tmp_path)
    plain = retriever.search([Query("get")])[0]
    [hits] = retriever.search([Query("get")], how=config.model_copy(update={"reranker": str(folder)}))
    texts = [f"m {hit.passage.name}: {hit.passage.text}" for hit in hits]
    scores = sorted(Reranker(str(folder)).scores("get", texts), reverse=True)
    assert [hit.score for hit in hits] == pytest.approx(scores)
    assert hits[0].scores.keys() == {"dense", "reranker"}
    assert {hit.passage.id for hit in hits} == {hit.passage.id for hit in plain}
