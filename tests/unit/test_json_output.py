"""JSON in answers: found where models put it, held against a schema, and fit for any database."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.answers.json_output import LONGEST, parse_json, require_schema
from models.core.types import JSON, Rejection

PERSON: JSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}
PRINTABLE = st.text(st.characters(exclude_categories=["C"]), max_size=8)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('  [1, 2]\n', [1, 2]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Sure! Here it is:\n```JSON\r\n{"a": [1]}\r\n```\nIs that fine?', {"a": [1]}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('The object is {"a": {"b": 1}} as asked.', {"a": {"b": 1}}),
        ('[{"a": 1}, {"a": 2}] are the two.', [{"a": 1}, {"a": 2}]),
        ('As in [1], {x} is {"a": [2]}.', {"a": [2]}),
        ("I count {three}, so: [1, 2, 3]", [1, 2, 3]),
        ('{"ü": "\\u00fc\\n"}', {"ü": "ü\n"}),
        ('{"value": 1, "items": [], "text": null}', {"value": 1, "items": [], "text": None}),
        ("null", None),
        ("3.50", 3.5),
        ('{"a": "\\u0000b\\ud800"}', {"a": "b?"}),
        ('{"\\u0000": {"\\ud83d\\ude00": 1}}', {"": {"😀": 1}}),
    ],
)  # fmt: skip
def test_json_is_found_in_an_answer(text: str, value: Any) -> None:
    assert parse_json(text, None) == value


@pytest.mark.parametrize(
    "text",
    [
        "no json", "{", '{"a": 1', "{a: 1}", "NaN", '{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}',
        "1" * 5000, "[" * 100_000, '{"a":' * 50_000, " " * 10, "{}".join("{" * 500),
        '"' + "x" * LONGEST + '"',
    ],
)  # fmt: skip
def test_what_is_no_json_is_rejected_at_once(text: str) -> None:
    began = time.process_time()
    rejection = parse_json(text, None)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "no_json"
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('{"name": "A"}', "'age' is a required property"),
        ('{"name": "A", "age": "3"}', "age: '3' is not of type 'integer'"),
        ('{"name": "A", "age": -1}', "age: -1 is less than the minimum of 0"),
        ("[]", "[] is not of type 'object'"),
        ('{"name": "A", "age": "' + "x\\n" * 300 + '"}', "age: 'x\\nx"),
    ],
)
def test_json_that_does_not_fit_its_schema_says_where(text: str, detail: str) -> None:
    rejection = parse_json(text, PERSON)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "schema"
    assert rejection.detail.startswith(detail)
    assert "\n" not in rejection.detail
    assert len(rejection.detail) <= 200


def test_json_that_fits_its_schema_is_the_value() -> None:
    assert parse_json('Here: {"name": "A", "age": 3}', PERSON) == {"name": "A", "age": 3}
    deep = "[" * 400 + "]" * 400
    nested = {"$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}, "$ref": "#/$defs/list"}
    assert isinstance(parse_json(deep, nested), list | Rejection)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "strin"}, "at type: 'strin' is none of array, boolean"),
        ({"properties": {"a": {"minimum": "x"}}}, "at properties.a.minimum: 'x' is not of type 'number'"),
        ({"required": "a"}, "at required"),
        ({"$ref": "#/$defs/gone"}, "refers to #/$defs/gone, which is no part of it"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}, "refers to http://127.0.0.1:9/"),
    ],
)
def test_what_is_no_schema_is_refused(schema: JSON, words: str) -> None:
    with pytest.raises(ValueError, match=r"^(is no JSON Schema|refers to)") as error:
        require_schema(schema)
    assert words in str(error.value)


def test_schemas_of_their_own_parts_are_taken() -> None:
    for schema in (
        PERSON,
        {},
        {"$defs": {"a": {"type": "null"}}, "items": {"$ref": "#/$defs/a"}},
        {"$ref": "#"},
    ):
        require_schema(schema)
    endless = parse_json("[]", {"$ref": "#"})
    assert isinstance(endless, Rejection)
    assert endless.detail == "is nested too deeply"


@given(JSON_VALUES)
def test_any_value_comes_back_out_of_its_text(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert parse_json(text, None) == value
        assert parse_json(f"```json\n{text}\n```", None) == value


@given(
    st.dictionaries(st.text(max_size=4), st.integers(), min_size=1),
    st.sampled_from(["Sure: {0}", "{0}!", "[1] {0}"]),
)
def test_an_object_is_found_within_any_text(value: JSON, around: str) -> None:
    text = around.replace("{0}", json.dumps(value))
    cleaned = parse_json(json.dumps(value), None)
    assert parse_json(text, None) == cleaned


@settings(max_examples=300)
@given(st.text(st.sampled_from('{}[]":,\\u0d8e1.-\n` atrufln'), max_size=40))
def test_any_answer_is_a_value_that_can_be_stored_or_a_rejection(text: str) -> None:
    value = parse_json(text, PERSON if "1" in text else None)
    if not isinstance(value, Rejection):
        stored = json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
        assert json.loads(stored) == value
        assert b"\\u0000" not in stored
