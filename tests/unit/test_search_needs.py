"""The needs of an experiment's searches: vectors, an encoder, a worker of their own."""

from __future__ import annotations

import pytest

from models.adapters.encoders.checkpoint import find_checkpoint
from models.core.experiment.passages import Passages
from storage.passages import encoder_fingerprint, index_name


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({}, True),
        ({"method": "bm25"}, False),
        ({"method": "bm25", "alternatives": {"by-meaning": {"method": "fusion"}}}, True),
        ({"method": "bm25", "alternatives": {"right": {"control": "oracle"}}}, False),
        ({"control": "oracle"}, False),
        ({"control": "random"}, True),
    ],
)
def test_only_searches_that_compare_vectors_need_them(settings: dict[str, object], needs: bool) -> None:
    assert Passages.model_validate(settings).needs_vectors is needs


def test_index_of_words_does_not_depend_on_the_encoder() -> None:
    words = [Passages(method="bm25", encoder=name) for name in ("minilm", "/no/encoder")]
    assert index_name(words[0]) == index_name(words[1]) != index_name(Passages())
    assert encoder_fingerprint(words[0]) == encoder_fingerprint(words[1]) != encoder_fingerprint(Passages())
    assert encoder_fingerprint(Passages()) == find_checkpoint("minilm").fingerprint
