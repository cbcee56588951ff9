"""The provider's Batch API: upload a file of calls, download a file of answers within a day."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from models.adapters.backends.access import ACCOUNT, NO_KEY, Access, is_loopback, read_access
from models.adapters.backends.completion_body import parse_completion
from models.adapters.backends.error_map import Address, map_client_error, map_status_error
from models.adapters.backends.openai import CONNECT_SECONDS, path_and_body
from models.core.errors import ModelError, Unavailable
from models.core.experiment.endpoints import Model
from models.core.experiment.key_hosts import ANY_HOST, OFFICIAL_URL, KeyHosts, is_official
from models.core.types import Completion, Request

if TYPE_CHECKING:
    from openai.types import Batch


NAME = "starmill_batch"
WINDOW: Literal["24h"] = "24h"
# A provider's clock that differed by more would let a batch be submitted twice.
MAX_CLOCK_DIFFERENCE = 30 * 86_400
ENDED = {"completed", "failed", "expired", "cancelled"}
# The account's limit on tokens in waiting batches; there is room again once other batches have ended.
QUEUE_IS_FULL = "token_limit_exceeded"
Endpoint = Literal["/v1/chat/completions", "/v1/completions"]


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the provider describes it. `files` are the ids of its result files."""

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
    """The batches of one account; every method tries once and raises ModelError.

    `name` is ours, and unique in the account. Raises AccessError for the official API without a key, and for
    a key that `key_hosts` keeps from the server. A redirection is an error: its host was not named.
    """

    def __init__(self, teacher: Model, key_hosts: KeyHosts = ANY_HOST) -> None:
        import openai

        url = teacher.base_url or OFFICIAL_URL
        access = read_access(teacher, url, key_hosts)
        self.address = Address(
            teacher.model_name, url, access.key_variable, access.secrets, frozenset(teacher.params)
        )
        self._client = openai.OpenAI(
            api_key=access.key or NO_KEY,
            base_url=url,
            default_headers=access.headers,
            default_query=access.query,
            max_retries=0,
            timeout=openai.Timeout(teacher.timeout, connect=CONNECT_SECONDS),
            http_client=openai.DefaultHttpxClient(
                trust_env=not is_loopback(url),
                follow_redirects=False,
                event_hooks={"request": [lambda request: _keep_own_key_back(request.headers, access, url)]},
            ),
        )

    def find_file(self, name: str, since: float) -> str | None:
        """Return the id of the uploaded file with this name, not older than `since` (epoch seconds)."""
        with self._errors():
            for file in self._client.files.list(purpose="batch", order="desc", limit=100):
                if file.created_at < since - MAX_CLOCK_DIFFERENCE:
                    return None
                if file.filename == name and file.status != "error":
                    return file.id
        return None

    def upload(self, name: str, file: IO[bytes]) -> str:
        with self._errors():
            return self._client.files.create(file=(name, file), purpose="batch").id

    def find_batch(self, name: str, since: float) -> str | None:
        """Return the id of the batch made under this name, not before `since`."""
        with self._errors():
            for batch in self._client.batches.list(limit=100):
                if batch.created_at < since - MAX_CLOCK_DIFFERENCE:
                    return None
                if (batch.metadata or {}).get(NAME) == name:
                    return batch.id
        return None

    def create(self, name: str, file_id: str, endpoint: str) -> str:
        with self._errors():
            batch = self._client.batches.create(
                input_file_id=file_id, endpoint=cast("Endpoint", endpoint), completion_window=WINDOW,
                metadata={NAME: name},
            )  # fmt: skip
        return batch.id

    def retrieve(self, batch_id: str) -> RemoteBatch:
        with self._errors():
            return _remote(self._client.batches.retrieve(batch_id), self.address)

    def lines(self, file_id: str) -> Iterator[bytes]:
        """Download a file of results completely, then yield its lines."""
        with tempfile.TemporaryFile() as file:
            with self._errors(), self._client.files.with_streaming_response.content(file_id) as response:
                try:
                    for piece in response.iter_bytes():
                        file.write(piece)
                except Exception as error:  # noqa: BLE001 - the transport's own, which have no common base
                    raise map_client_error(error, self.address) from None
            file.seek(0)
            # Not str.splitlines: an answer may hold other line ends.
            yield from (line for line in file if line.strip())

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import openai

        try:
            yield
        except (openai.OpenAIError, OSError) as error:
            raise map_client_error(error, self.address) from None  # its text may hold the key


def _keep_own_key_back(headers: MutableMapping[str, str], access: Access, url: str) -> None:
    """Remove what the client sends in any case: the key, if the model has one in another header, and from
    other servers the account at OpenAI."""
    for name in () if is_official(url) else ACCOUNT:
        headers.pop(name, None)
    if access.is_keyed_by_header and not any(name.lower() == "authorization" for name in access.headers):
        headers.pop("Authorization", None)


def _remote(batch: Batch, address: Address) -> RemoteBatch:
    errors: list[Any] = (batch.errors.data if batch.errors else None) or []
    message = "; ".join(dict.fromkeys(f"{error.message or error.code}" for error in errors))
    return RemoteBatch(
        batch.id,
        batch.status,
        tuple(file for file in (batch.output_file_id, batch.error_file_id) if file),
        batch.request_counts.completed if batch.request_counts else 0,
        bool(errors) and all(error.code == QUEUE_IS_FULL for error in errors),
        address.quote(message) if message else "",
    )


def batch_endpoint(request: Request) -> str:
    return f"/v1{path_and_body(request)[0]}"


def batch_line(key: str, request: Request, url: str = "") -> bytes:
    """Return a call as a line of the uploaded file; `key` comes back with its answer."""
    path, body = path_and_body(request, url)
    line = {"custom_id": key, "method": "POST", "url": f"/v1{path}", "body": body}
    return json.dumps(line).encode() + b"\n"


def parse_result_line(line: bytes, address: Address) -> tuple[str, Completion | ModelError]:
    """Return the key and the answer, or the error of a call that was not answered.

    Raises Unavailable if the line is not a batch result.
    """
    try:
        row = json.loads(line)
        key, response, error = str(row["custom_id"]), row.get("response"), row.get("error")
        status = int(response["status_code"]) if response else 0
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        quoted = address.quote(line.decode(errors="replace"))
        raise Unavailable(f"{address}: a line of results cannot be read: {quoted}") from None
    if not response:
        # Expired or cancelled: the call was never made, and nothing is wrong with it.
        code = error.get("code") if isinstance(error, Mapping) else error
        return key, Unavailable(f"{address}: not answered: {address.quote(code)}")
    body = response.get("body")
    text = body.encode(errors="replace") if isinstance(body, str) else json.dumps(body).encode()
    if not 200 <= status < 300:
        return key, map_status_error(status, {}, text, address)
    try:
        return key, parse_completion(text, address)
    except ModelError as inside:
        return key, inside
