"""Recorded answers are found by what was asked, or by stage and example."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError, NotRecorded
from models.core.recording import Asker, Recording, recorded_row
from models.core.types import Completion, Message, Request, Usage
from producer.experiments.load import pin_recordings
from storage.jsonl import read_recording
from tests.support.experiment_files import MINIMAL, load, refusal

ASKED = Request("openai", "m", (Message("user", "sort"),), None, {"temperature": 0.5, "stop": ["\n"]}, (1, 2))
PROMPT = Request("host:1/v1", "m", prompt="one two", params={"top_k": 3})
SORTED = {"request": ASKED.body(), "text": "sorted(x)", "finish_reason": "length",
          "usage": {"prompt": 9, "cached": 3, "completion": 2}}  # fmt: skip
FIRST = Asker("rationale", "train", "7-1", "sort it")


def recording(*rows: dict[str, Any]) -> Recording:
    """Return the recording that a file of these rows gives."""
    return Recording("r.jsonl", "ab" * 32, enumerate(json.loads(json.dumps(rows)), 1))


def answer(recorded: Recording, request: Request, asker: Asker | None = None) -> Completion:
    return recorded.answer(recorded.named(request, asker))


def of_stage(key: dict[str, Any], text: str, stage: str = "rationale") -> dict[str, Any]:
    return {"stage": stage, "text": text, **key}


def test_recorded_answer_does_not_depend_on_the_provider() -> None:
    recording_ = recording(SORTED, {"request": PROMPT.body(), "text": None, "refusal": "no"})
    expected = Completion("sorted(x)", "length", Usage(9, 3, 2))
    assert answer(recording_, replace(ASKED, provider="replay")) == expected
    assert answer(recording_, PROMPT) == Completion(None, "stop", Usage(), "no")


def test_reasoning_and_estimates_are_recorded_and_replayed() -> None:
    thought = Completion("f(x)", "stop", Usage(9, 3, 7, 5, estimated=True), None, "hm")
    assert answer(recording(recorded_row(ASKED.body(), thought)), ASKED) == thought
    plain = Completion("f(x)", "stop", Usage(9, 0, 7))
    row = recorded_row(ASKED.body(), plain)
    assert row["usage"] == {"prompt": 9, "cached": 0, "completion": 7}
    assert "reasoning" not in row
    assert answer(recording(row), ASKED) == plain


def test_replayed_request_keeps_its_recorded_identity() -> None:
    named = recording(SORTED).named(replace(ASKED, provider="replay"))
    assert (named, named.key) == (ASKED, ASKED.key)


@pytest.mark.parametrize(
    "other",
    [{"model": "n"}, {"draw": (1, 3)}, {"params": {}}, {"messages": (Message("system", "sort"),)}],
)  # fmt: skip
def test_another_request_raises_not_recorded(other: dict[str, Any]) -> None:
    with pytest.raises(NotRecorded, match="holds no answer to this request to"):
        recording(SORTED).named(replace(ASKED, **other))


def test_a_stage_of_an_example_is_answered_by_id_or_by_request() -> None:
    recording_ = recording(
        of_stage({"question_id": "7-1"}, "by id"), of_stage({"request": "count"}, "by request")
    )
    assert answer(recording_, ASKED, FIRST).text == "by id"
    assert answer(recording_, ASKED, replace(FIRST, question_id="8", request="count")).text == "by request"
    for asker in (replace(FIRST, stage="rationalize"), replace(FIRST, question_id="8"), None):
        with pytest.raises(NotRecorded):
            recording_.named(ASKED, asker)


def test_the_nth_line_of_a_key_answers_the_nth_example_with_it() -> None:
    recording_ = recording(of_stage({"question_id": 7}, "a"), of_stage({"question_id": "7"}, "b"))
    asker = replace(FIRST, question_id="7")
    named = [recording_.named(ASKED, replace(asker, nth_of_id=nth)) for nth in (0, 1)]
    assert [recording_.answer(request).text for request in named] == ["a", "b"]
    # The same words are another generation for each line, and none that was bought.
    assert len({ASKED.key, *(request.key for request in named)}) == 3
    with pytest.raises(NotRecorded, match="rationale of 7"):
        recording_.named(ASKED, replace(asker, nth_of_id=2))


def test_calls_of_growth_are_told_apart_by_round_and_sample() -> None:
    key = {"question_id": "7-1"}
    recording_ = recording(of_stage(key, "a", "grow"), of_stage({**key, "sample": 1}, "b", "grow"),
                      of_stage({**key, "round": 2}, "c", "grow"))  # fmt: skip
    asker = replace(FIRST, stage="grow")
    asked = [asker, replace(asker, sample=1), replace(asker, round=2)]
    assert [answer(recording_, ASKED, each).text for each in asked] == ["a", "b", "c"]
    with pytest.raises(NotRecorded):
        recording_.named(ASKED, replace(asker, round=2, sample=1))


def test_a_step_of_any_name_is_answered_by_row_and_sample() -> None:
    recording_ = recording(
        of_stage({"row": 3}, "a", "draft"), of_stage({"row": 3, "sample": 1}, "b", "draft"),
        of_stage({"row": 3, "split": "test"}, "c", "draft"), of_stage({"row": 0}, "d", "answer"),
    )  # fmt: skip
    asker = Asker("draft", "train", "3", "", row=3, in_steps=True)
    asked = [asker, replace(asker, sample=1), replace(asker, split="test")]
    assert [answer(recording_, ASKED, each).text for each in asked] == ["a", "b", "c"]
    # A stage of this name belongs to test rows, a step to rows of both splits.
    assert answer(recording_, ASKED, replace(asker, stage="answer", row=0)).text == "d"
    for other in (replace(asker, row=4, question_id="4"), replace(asker, split="test", sample=1)):
        with pytest.raises(NotRecorded):
            recording_.named(ASKED, other)


def test_augmentations_of_test_say_so() -> None:
    row = of_stage({"question_id": "7-1"}, "This requires", "augment")
    recording_ = recording(row, {**row, "split": "test", "text": "that"})
    assert answer(recording_, ASKED, replace(FIRST, stage="augment")).text == "This requires"
    assert answer(recording_, ASKED, replace(FIRST, stage="augment", split="test")).text == "that"


def test_a_whole_request_comes_before_a_stage() -> None:
    assert (
        answer(recording(of_stage({"question_id": "7-1"}, "loose"), SORTED), ASKED, FIRST).text == "sorted(x)"
    )


def test_provider_decides_between_several_recorded_answers() -> None:
    other = replace(ASKED, provider="host:2/v1")
    recording_ = recording(SORTED, {"request": other.body(), "text": "other"})
    assert answer(recording_, ASKED).text == "sorted(x)"
    assert answer(recording_, other).text == "other"
    with pytest.raises(NotRecorded, match="answers of host:2/v1 and openai to this request to m; tell with"):
        recording_.named(replace(ASKED, provider="host:3/v1"))
    alike = recording(SORTED, {**SORTED, "request": other.body()})
    assert answer(alike, replace(ASKED, provider="host:3/v1")).text == "sorted(x)"


def test_the_same_answer_twice_is_one() -> None:
    assert answer(recording(SORTED, SORTED), ASKED).text == "sorted(x)"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "has no 'text'; its keys are none"),
        ({"text": 1}, "'text' must be a text, found int"),
        ({"text": "x"}, "needs a 'request' as the ledger stores it, the name of a 'stage' or step, or a"),
        ({"text": "x", "stage": "answer"}, "needs a 'question_id' or a 'request', a text"),
        ({"text": "x", "stage": "answer", "question_id": True}, "needs a 'question_id' or a 'request'"),
        ({"text": "x", "stage": "draft", "row": True}, "or a 'row', a number"),
        ({"text": "x", "stage": "answer", "question_id": "1", "split": "dev"}, "must be train or test"),
        ({"text": "x", "stage": "grow", "question_id": "1", "round": 0}, "'round' must be a whole number"),
        ({"text": "x", "request": {}}, "'request' needs model, messages or prompt, params and draw"),
        ({**SORTED, "request": {**ASKED.body(), "draw": [1]}}, "'request' needs model"),
        ({**SORTED, "request": {**ASKED.body(), "messages": ["hello"]}}, "'request' needs model"),
        ({**SORTED, "usage": {"prompt": -1}}, "'usage' must give numbers of tokens for cached, completion"),
        ({**SORTED, "usage": {"total_tokens": 3}}, "'usage' must give numbers of tokens"),
        ({**SORTED, "text": "other"}, "answers the request of line 1 in another way"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DatasetError, match=r"^r\.jsonl:2: ") as error:
        recording(SORTED, row)
    assert says in str(error.value)


def test_a_file_is_read_plain_or_gzipped_and_only_if_it_is_the_one(tmp_path: Path) -> None:
    line = json.dumps(of_stage({"question_id": "7-1"}, "x")) + "\n"
    plain, packed = tmp_path / "r.jsonl", tmp_path / "r.jsonl.gz"
    plain.write_text(line)
    packed.write_bytes(gzip.compress(line.encode()))
    for path in (plain, packed):
        assert answer(read_recording(path, read_recording(path).digest), ASKED, FIRST).text == "x"
    with pytest.raises(DatasetError, match=r"r\.jsonl: is not the recording whose recording_sha256 is a"):
        read_recording(plain, "a" * 64)
    plain.write_text("\n")
    with pytest.raises(DatasetError, match=r"r\.jsonl: holds no recorded answers"):
        read_recording(plain)
    with pytest.raises(DatasetError, match=r"none\.jsonl: no such file"):
        read_recording(tmp_path / "none.jsonl")


def test_an_experiment_knows_the_recording_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    endpoint = {"backend": "replay", "model": "m", "recording": "r.jsonl"}
    config = MINIMAL | {"teacher": endpoint, "students": [{**endpoint, "name": "pupil"}, "embedded"]}
    path.write_text(json.dumps(SORTED) + "\n")
    experiment = load(tmp_path, config)
    assert experiment.teacher.recording == experiment.students[0].recording == str(path)
    pinned = pin_recordings(experiment)
    assert pinned.teacher.recording_sha256 == pinned.students[0].recording_sha256 != ""
    assert pinned.students[1] == experiment.students[1]
    assert pin_recordings(pinned) == pinned
    path.write_text(json.dumps(SORTED) + "\n\n")
    with pytest.raises(DatasetError, match="is not the recording"):
        pin_recordings(pinned)


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ({"backend": "replay", "model": "m"}, "backend replay needs a recording, and the model"),
        ({"backend": "replay", "recording": "r"}, "backend replay needs a recording, and the model"),
        ({"backend": "embedded", "recording": "r"}, "a recording belongs to backend replay"),
    ],
)  # fmt: skip
def test_a_replay_needs_a_recording_and_a_model(tmp_path: Path, endpoint: dict[str, str], says: str) -> None:
    assert says in refusal(tmp_path, MINIMAL | {"teacher": endpoint})
    assert says in refusal(tmp_path, MINIMAL | {"students": [endpoint]})
