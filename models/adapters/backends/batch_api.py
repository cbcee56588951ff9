"""The provider's Batch API: a file of calls goes up, a file of answers comes down within a day.

Lines of a batch's files: a call on its way up, its outcome on the way down.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from models.adapters.backends.error_map import Address, as_model_error, error_of_status
from models.adapters.backends.openai import (
    CONNECT_SECONDS,
    NO_KEY,
    OFFICIAL_URL,
    call_of,
    completion_of,
    is_loopback,
    read_key,
)
from models.core.errors import ModelError, Unavailable
from models.core.experiment.endpoints import Teacher
from models.core.types import Completion, Request

if TYPE_CHECKING:
    from openai.types import Batch


NAME = "starmill_batch"
WINDOW: Literal["24h"] = "24h"
# The provider's clock differs from ours by less, or else a batch could be submitted twice.
CLOCKS_DIFFER = 30 * 86_400
ENDED = {"completed", "failed", "expired", "cancelled"}
# The account's limit of tokens that wait in batches: they fit once other batches have ended.
QUEUE_IS_FULL = "token_limit_exceeded"
Endpoint = Literal["/v1/chat/completions", "/v1/completions"]


@dataclass(frozen=True, slots=True)
class Remote:
    """A batch as the provider sees it. `files` hold what came of it, as far as it came."""

    id: str
    status: str
    files: tuple[str, ...] = ()
    completed: int = 0
    queue_is_full: bool = False
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class BatchClient:
    """Raises ModelError; each call is tried once. `name` is our own, unlike any other of the account.

    Raises AccessError where the official API is asked without a key.
    """

    def __init__(self, teacher: Teacher) -> None:
        import openai

        url = teacher.base_url or OFFICIAL_URL
        key = read_key(teacher.api_key_env, url)
        self.address = Address(teacher.model_name, url, teacher.api_key_env, key)
        self._client = openai.OpenAI(
            api_key=key or NO_KEY,
            base_url=url,
            max_retries=0,
            timeout=openai.Timeout(teacher.timeout, connect=CONNECT_SECONDS),
            http_client=openai.DefaultHttpxClient(trust_env=not is_loopback(url)),
        )

    def find_file(self, name: str, since: float) -> str | None:
        """An uploaded file of this name, not older than `since`, seconds since the epoch."""
        with self._errors():
            for found in self._client.files.list(purpose="batch", order="desc", limit=100):
                if found.created_at < since - CLOCKS_DIFFER:
                    return None
                if found.filename == name and found.status != "error":
                    return found.id
        return None

    def upload(self, name: str, file: IO[bytes]) -> str:
        with self._errors():
            return self._client.files.create(file=(name, file), purpose="batch").id

    def find_batch(self, name: str, since: float) -> str | None:
        """The batch that was made under this name, not before `since`."""
        with self._errors():
            for found in self._client.batches.list(limit=100):
                if found.created_at < since - CLOCKS_DIFFER:
                    return None
                if (found.metadata or {}).get(NAME) == name:
                    return found.id
        return None

    def create(self, name: str, file_id: str, endpoint: str) -> str:
        with self._errors():
            made = self._client.batches.create(
                input_file_id=file_id, endpoint=cast("Endpoint", endpoint), completion_window=WINDOW,
                metadata={NAME: name},
            )  # fmt: skip
        return made.id

    def retrieve(self, batch_id: str) -> Remote:
        with self._errors():
            return _remote(self._client.batches.retrieve(batch_id), self.address)

    def lines(self, file_id: str) -> Iterator[bytes]:
        """Of a file of results, which is down as a whole before its first line is handed on."""
        with tempfile.TemporaryFile() as file:
            with self._errors(), self._client.files.with_streaming_response.content(file_id) as response:
                try:
                    for piece in response.iter_bytes():
                        file.write(piece)
                except Exception as error:  # noqa: BLE001 - the transport's own, which have no common base
                    raise as_model_error(error, self.address) from None
            file.seek(0)
            # Not by str.splitlines: an answer may hold other line ends as they are.
            yield from (line for line in file if line.strip())

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import openai

        try:
            yield
        except (openai.OpenAIError, OSError) as error:
            raise as_model_error(error, self.address) from None  # its text may hold the key


def _remote(batch: Batch, address: Address) -> Remote:
    errors: list[Any] = (batch.errors.data if batch.errors else None) or []
    said = "; ".join(dict.fromkeys(f"{error.message or error.code}" for error in errors))
    return Remote(
        batch.id,
        batch.status,
        tuple(file for file in (batch.output_file_id, batch.error_file_id) if file),
        batch.request_counts.completed if batch.request_counts else 0,
        bool(errors) and all(error.code == QUEUE_IS_FULL for error in errors),
        address.quote(said) if said else "",
    )


def endpoint_of(request: Request) -> str:
    return f"/v1{call_of(request)[0]}"


def line_of(key: str, request: Request) -> bytes:
    """A call as a line of the file that goes up; `key` comes back with its answer."""
    path, body = call_of(request)
    line = {"custom_id": key, "method": "POST", "url": f"/v1{path}", "body": body}
    return json.dumps(line).encode() + b"\n"


def outcome_of(line: bytes, address: Address) -> tuple[str, Completion | ModelError]:
    """Key and answer, or the error of a call that was not answered.

    Raises Unavailable where the line is not one of a batch.
    """
    try:
        found = json.loads(line)
        key, response, error = found["custom_id"], found.get("response"), found.get("error")
        status = int(response["status_code"]) if response else 0
    except (ValueError, TypeError, LookupError, AttributeError):
        said = address.quote(line.decode(errors="replace"))
        raise Unavailable(f"{address}: a line of results cannot be read: {said}") from None
    if not response:
        # Expired or cancelled: nothing was asked, and nothing is wrong with the call.
        code = error.get("code") if isinstance(error, Mapping) else error
        return key, Unavailable(f"{address}: not answered: {address.quote(code)}")
    body = response.get("body")
    text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    if 200 <= status < 300:
        return key, completion_of(text, address)
    return key, error_of_status(status, {}, text, address)
