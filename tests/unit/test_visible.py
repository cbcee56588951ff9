"""Characters that steer a terminal are shown."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from models.core.display import visible, visible_json


def test_escapes_are_shown_and_letters_stay() -> None:
    assert (
        visible("\x1b[31m\r\x9b\x7f\u202e\ud800\U000e0041") == r"\x1b[31m\x0d\x9b\x7f\u202e\ud800\U000e0041"
    )
    kept = "naïve 模型 \N{WAVING HAND SIGN}\u200d\tשלום\n"
    assert visible(kept) == kept


@given(st.text())
def test_json_keeps_its_meaning(text: str) -> None:
    written = visible_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(written) == [text]
    assert visible(written) == written
    assert visible(visible(text)) == visible(text)
