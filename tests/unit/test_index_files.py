"""Producer and worker find the same index, and only that one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from models.core.experiment.passages import Passages
from storage.passages import corpus_hash, index_name, index_path

BASE = Passages(packages=["numpy", "stdlib"])


@pytest.mark.parametrize(
    "same",
    [
        Passages(packages=["stdlib", "numpy", "numpy"]),
        Passages(packages=["numpy", "stdlib"], path="ignored.jsonl"),
        Passages(packages=["numpy", "stdlib"], top_k=9, token_budget=5, min_score=0.5),
    ],
)
def test_index_name_ignores_what_keeps_vectors(same: Passages) -> None:
    assert index_name(same) == index_name(BASE)


def test_index_name_follows_what_changes_vectors() -> None:
    others = [
        Passages(packages=["numpy"]),
        Passages(packages=["numpy", "stdlib"], encoder="other"),
        Passages(source="jsonl", path="a.jsonl"),
        Passages(source="jsonl", path="b.jsonl"),
        Passages(source="devdocs", path="a"),
        Passages(source="devdocs", path="b"),
        Passages(source="sphinx", path="a"),
    ]
    names = [index_name(config) for config in [BASE, *others]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("source", ["jsonl", "devdocs", "sphinx"])
def test_packages_do_not_matter_to_files(source: Literal["jsonl", "devdocs", "sphinx"]) -> None:
    config = Passages(source=source, path="a")
    assert index_name(config) == index_name(config.model_copy(update={"packages": ["numpy"]}))


def test_name_is_a_milvus_identifier_and_a_folder() -> None:
    assert index_name(BASE).isidentifier()
    assert index_path(BASE, Path("home")) == Path("home") / "indexes" / index_name(BASE)


def test_corpus_hash_ignores_order_alone() -> None:
    assert corpus_hash(["a", "b"]) == corpus_hash(["b", "a"])
    assert len({corpus_hash(keys) for keys in (["a"], ["a", "b"], ["ab"], [])}) == 4
