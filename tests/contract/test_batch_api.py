"""Files, batches and embeddings of the test server, through the real openai client and our own."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import openai
import pytest

from models.adapters.backends.batch_api import (
    BatchClient,
    RemoteBatch,
    batch_endpoint,
    batch_line,
    parse_result_line,
)
from models.adapters.backends.error_map import Address
from models.core.answers.checks import usable_text
from models.core.errors import AccessError, BadRequest, ContextOverflow, Filtered, ModelError, Unavailable
from models.core.experiment.endpoints import Model
from models.core.types import Completion, Message, Rejection, Request
from tests.openai_server.calls import ask
from tests.openai_server.process import OpenAIServer

KEY = "sk-a-key-that-nobody-may-see"
ADDRESS = Address("model", "http://nowhere/v1", "OPENAI_API_KEY")
DAY = 86_400.0


def question(text: str) -> Request:
    return Request("any", "some-model", (Message("user", text),), params={"max_tokens": 50})


REQUESTS = {request.key: request for request in map(question, ("one", "two", "three", "four"))}
CONTENT = b"".join(batch_line(key, request) for key, request in REQUESTS.items())
CHAT = batch_endpoint(question(""))


@pytest.fixture
def client(openai_server: OpenAIServer) -> Iterator[BatchClient]:
    opened = BatchClient(Model(backend="openai", model="some-model", base_url=openai_server.url))
    yield opened
    opened.close()


@pytest.fixture
def official(openai_server: OpenAIServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="unused", base_url=openai_server.url, max_retries=0) as opened:
        yield opened


def submit(client: BatchClient, name: str = "mine", content: bytes = CONTENT) -> str:
    file = client.upload(f"{name}.jsonl", io.BytesIO(content))
    return client.create(name, file, CHAT)


def outcomes(client: BatchClient, batch: str) -> tuple[RemoteBatch, dict[str, Completion | ModelError]]:
    """Return the outcomes of a batch that has ended at the first poll."""
    remote = client.retrieve(batch)
    assert remote.ended
    lines = [line for file in remote.files for line in client.lines(file)]
    return remote, dict(parse_result_line(line, ADDRESS) for line in lines)


def test_a_batch_is_answered_as_calls_are(client: BatchClient, openai_server: OpenAIServer) -> None:
    remote, ended = outcomes(client, submit(client))
    assert (remote.status, remote.completed, len(remote.files)) == ("completed", 4, 1)
    assert ended == {key: ask(openai_server.url, request) for key, request in REQUESTS.items()}
    stats = openai_server.stats()
    assert sorted(stats["paid"].values()) == [2, 2, 2, 2]


def test_a_batch_takes_its_time(client: BatchClient, openai_server: OpenAIServer) -> None:
    openai_server.configure(batch_latency_ms=60_000)
    batch = submit(client)
    assert client.retrieve(batch).status == "in_progress"
    assert openai_server.stats()["answers"] == 0


def test_batch_separates_unanswered_lines_from_answers(
    client: BatchClient, openai_server: OpenAIServer
) -> None:
    openai_server.configure(batch_expire=0.5, seed=2)
    remote, ended = outcomes(client, submit(client))
    undone = [error for error in ended.values() if isinstance(error, Unavailable)]
    assert remote.status == "expired"
    assert 0 < len(undone) < 4
    assert "batch_expired" in str(undone[0])
    assert openai_server.stats()["answers"] == 4 - len(undone) == remote.completed


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"batch_fail": 1}, Unavailable),
        ({"p429": 1}, ModelError),
        ({"model": "another"}, AccessError),
    ],
    ids=str,
)
def test_each_fault_of_a_line_becomes_its_error(
    client: BatchClient, openai_server: OpenAIServer, settings: dict[str, object], expected: type
) -> None:
    openai_server.configure(**settings)
    _, ended = outcomes(client, submit(client))
    assert all(isinstance(outcome, expected) for outcome in ended.values())


def test_a_line_that_is_too_long_is_a_bad_request(client: BatchClient, openai_server: OpenAIServer) -> None:
    openai_server.configure(max_context=1)
    long = question("far too long")
    _, ended = outcomes(client, submit(client, content=CONTENT + batch_line(long.key, long)))
    assert isinstance(ended.pop(long.key), ContextOverflow)
    assert all(isinstance(outcome, Completion) for outcome in ended.values())


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("null", "null"), ("empty", "empty"), ("html", "html"), ("truncated", "malformed"),
     ("refusal", "refusal")],
)  # fmt: skip
def test_a_malformed_line_is_an_answer_to_reject(
    client: BatchClient, openai_server: OpenAIServer, kind: str, reason: str
) -> None:
    openai_server.configure(malformed=1, kinds=kind)
    _, ended = outcomes(client, submit(client))
    for outcome in ended.values():
        assert isinstance(outcome, Completion)
        verdict = usable_text(outcome)
        assert isinstance(verdict, Rejection)
        assert verdict.reason == reason
    assert openai_server.stats()["answers"] == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"nonsense\n", "This line is not a call"),
        (CONTENT + CONTENT, "custom_id is there twice"),
        (batch_line("x", Request("any", "m", prompt="words")), "another endpoint than its batch"),
        (b"", "From 1 to 50000 calls"),
    ],
)
def test_a_file_that_cannot_be_used_fails_its_batch(client: BatchClient, content: bytes, says: str) -> None:
    remote = client.retrieve(submit(client, content=content))
    assert (remote.status, remote.files, remote.queue_is_full) == ("failed", (), False)
    assert says in remote.message


def test_full_batch_queue_is_recognized(client: BatchClient, openai_server: OpenAIServer) -> None:
    openai_server.configure(batch_tokens=10)
    remote = client.retrieve(submit(client))
    assert (remote.status, remote.queue_is_full) == ("failed", True)


def test_files_and_batches_are_found_again_by_their_names(client: BatchClient) -> None:
    now = time.time()
    assert client.find_file("again.jsonl", now) is None
    assert client.find_batch("again", now) is None
    file = client.upload("again.jsonl", io.BytesIO(CONTENT))
    batch = client.create("again", file, CHAT)
    for number in range(3):
        submit(client, f"later-{number}")
    assert client.find_file("again.jsonl", now) == file
    assert client.find_batch("again", now) == batch
    # Clocks may differ; but what is a month too old is not looked through.
    assert client.find_batch("again", now + 29 * DAY) == batch
    assert client.find_file("again.jsonl", now + 31 * DAY) is None
    assert client.find_batch("again", now + 31 * DAY) is None


def test_lists_are_read_page_by_page(official: openai.OpenAI) -> None:
    names = [f"paged-{number}.jsonl" for number in range(5)]
    for name in names:
        official.files.create(file=(name, CONTENT), purpose="batch")
    file_names = [file.filename for file in official.files.list(limit=2, purpose="batch")]
    assert [name for name in file_names if name.startswith("paged")] == names[::-1]


def test_files_are_kept_and_deleted(official: openai.OpenAI) -> None:
    made = official.files.create(file=("x.jsonl", CONTENT), purpose="batch")
    assert official.files.retrieve(made.id).bytes == len(CONTENT)
    assert official.files.content(made.id).content == CONTENT
    assert official.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        official.files.retrieve(made.id)


def test_a_cancelled_batch_was_not_paid(
    client: BatchClient, official: openai.OpenAI, openai_server: OpenAIServer
) -> None:
    openai_server.configure(batch_latency_ms=60_000)
    batch = submit(client)
    assert official.batches.cancel(batch).status == "cancelled"
    remote, ended = outcomes(client, batch)
    assert (remote.status, remote.completed) == ("cancelled", 0)
    assert all(isinstance(outcome, Unavailable) for outcome in ended.values())
    assert openai_server.stats()["answers"] == 0


def test_batch_client_needs_a_key_and_never_shows_it(
    openai_server: OpenAIServer, client: BatchClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_server.configure(key="another")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    teacher = Model(
        backend="openai", model="some-model", base_url=openai_server.url, api_key_env="OPENAI_API_KEY"
    )
    keyed = BatchClient(teacher)
    with pytest.raises(AccessError, match="set OPENAI_API_KEY") as caught:
        keyed.upload("x.jsonl", io.BytesIO(CONTENT))
    assert KEY not in str(caught.value)
    keyed.close()
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(AccessError, match="set OPENAI_API_KEY"):
        BatchClient(Model(backend="openai", model="some-model"))


def test_a_server_that_is_away_is_unavailable() -> None:
    client = BatchClient(Model(backend="openai", model="m", base_url="http://127.0.0.1:9/v1"))
    with pytest.raises(Unavailable):
        client.retrieve("batch-1")
    client.close()


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"[]", b'{"id": 1}', b'{"custom_id": "x", "response": 5}']
)
def test_unreadable_result_line_is_unavailable(line: bytes) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        parse_result_line(line, ADDRESS)


def test_a_refused_line_says_why() -> None:
    line = (b'{"custom_id": "x", "error": null, "response": {"status_code": 400, "body": '
            b'{"error": {"message": "no such character", "code": "invalid_prompt"}}}}')  # fmt: skip
    key, error = parse_result_line(line, ADDRESS)
    assert key == "x"
    assert isinstance(error, BadRequest)
    assert "no such character" in str(error)


ERROR_LINES = [
    (400, {"error": {"message": "no such parameter", "code": "unknown_parameter"}}, AccessError),
    (400, {"error": {"message": "filtered", "code": "content_filter"}}, Filtered),
    (413, "too large", ContextOverflow),
    (200, {"error": {"code": 503, "message": "overloaded"}}, Unavailable),
    (200, {"choices": [{"message": {"content": "f_"}, "finish_reason": "abort"}]}, Unavailable),
]


@pytest.mark.parametrize(("status", "body", "expected"), ERROR_LINES)
def test_a_line_has_the_error_of_a_direct_call(status: int, body: object, expected: type[ModelError]) -> None:
    line = {"custom_id": "x", "error": None, "response": {"status_code": status, "body": body}}
    assert type(parse_result_line(json.dumps(line).encode(), ADDRESS)[1]) is expected


@pytest.mark.parametrize(
    "line", [b"[" * 5000, b'{"custom_id": 1e999, "response": {"status_code": 1e999}}', b""]
)
def test_a_line_that_is_no_result_is_no_answer(line: bytes) -> None:
    with pytest.raises(Unavailable):
        parse_result_line(line, ADDRESS)


def test_embeddings_are_the_same_for_the_same_words(official: openai.OpenAI) -> None:
    texts = ["sort a list", "a list, sort!", "open the file"]
    made = official.embeddings.create(model="any", input=texts)
    same, too, other = (item.embedding for item in made.data)
    assert same == too != other
    assert sum(number * number for number in same) == pytest.approx(1, abs=1e-5)
    plain = official.embeddings.create(model="any", input=texts[0], encoding_format="float", dimensions=8)
    assert len(plain.data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError):
        official.embeddings.create(model="any", input=[[1, 2]])
