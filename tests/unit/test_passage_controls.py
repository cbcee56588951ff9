"""Controls show as much as the search would have, of something else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.core.experiment.passages import Selection
from models.core.retrieval import passage_selection
from models.core.retrieval.passage_selection import format_passages, passage_line, shown_hits, shown_length
from models.core.types import Passage

texts = st.text(alphabet="ab .", min_size=1, max_size=60)


@st.composite
def passages(draw: st.DrawFn) -> list[Passage]:
    drawn = draw(st.lists(texts, max_size=8))
    return [Passage(f"m.f{index}", f"m.f{index}", "(x)", text) for index, text in enumerate(drawn)]


forms = st.sampled_from([("full", True), ("first_sentence", True), ("signature", True), ("full", False)]).map(
    lambda drawn: Selection.model_validate({"form": drawn[0], "labelled": drawn[1]})
)


@given(passages(), forms)
def test_filler_is_as_long_as_the_passages_it_replaces(shown: list[Passage], config: Selection) -> None:
    silence = passage_selection.filler_passages(shown, config)
    assert [hit.passage.id for hit in silence] == ["filler"] * len(shown)
    assert [shown_length(hit.passage, config) for hit in silence] == [
        shown_length(passage, config) for passage in shown
    ]
    seen = format_passages((hit.passage for hit in silence), config)
    assert sum(map(len, map(passage_line, seen))) == sum(
        map(len, map(passage_line, format_passages(shown, config)))
    )


def test_filler_says_nothing_of_the_passage() -> None:
    [hit] = passage_selection.filler_passages([Passage("m.f", "m.f", "(x)", "Sort. " * 100)], Selection())
    assert hit.passage.text.startswith(passage_selection.FILLER)
    assert "ort." not in hit.passage.text
    assert not hit.passage.text[-1].isspace()


@given(passages(), passages(), st.sets(st.sampled_from([f"m.f{index}" for index in range(8)])))
def test_random_passages_are_as_many_and_none_that_must_not_be(
    shown: list[Passage], drawn: list[Passage], but: set[str]
) -> None:
    noise = [hit.passage for hit in passage_selection.random_passages(shown, drawn, but, Selection())]
    allowed = [passage for passage in drawn if passage.id not in but]
    assert len(noise) == len({passage.id for passage in noise}) == min(len(shown), len(allowed))
    assert all(passage in allowed for passage in noise)


def test_random_passages_have_the_nearest_length() -> None:
    shown = [Passage("a", "a", "", "x" * 50), Passage("b", "b", "", "x" * 10)]
    drawn = [Passage(f"{size}", "c", "", "x" * size) for size in (9, 49, 52, 300, 10)]
    noise = passage_selection.random_passages(shown, drawn, {"10"}, Selection())
    assert [hit.passage.id for hit in noise] == ["49", "9"]


def test_the_right_passages_are_shown_in_their_order_within_the_limits() -> None:
    right = [Passage(name, name, "", "x" * 40) for name in "abc"]
    for config, ids in (
        (Selection(control="oracle"), "abc"),
        (Selection(control="oracle", top_k=2), "ab"),
        (Selection(control="oracle", token_budget=11, min_score=5), "a"),
    ):
        hits = passage_selection.oracle_passages(right, config)
        assert "".join(hit.passage.id for hit in hits) == ids
        assert shown_hits(hits, config) == hits
    assert passage_selection.oracle_passages([], Selection(control="oracle")) == []
