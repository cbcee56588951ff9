"""Download a file over HTTP, and resume it after an interruption, in this run or the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from models.core.errors import ServiceError, UsageError

# Tries in a row without a new byte.
TRIES = 5
CHUNK_BYTES = 1 << 18
CONNECT_SECONDS = 10
SILENCE_SECONDS = 30
MAX_RETRY_AFTER = 60.0
RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
ByteProgress = Callable[[int], None]

_backoff = wait_random_exponential(multiplier=0.25, max=5)


class DownloadInterrupted(Exception):
    """The same request may succeed later; `retry_after` is the server's Retry-After in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def open_session() -> aiohttp.ClientSession:
    """Open a session that uses the proxies of the environment."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    return aiohttp.ClientSession(trust_env=True, timeout=timeout)


@dataclass
class Download:
    """Completes the file `part`, which may hold the beginning of the same edition already.

    The whole file must have `size` bytes; None if the size is unknown. `progress` gets the bytes received so
    far. Raises ServiceError for the server and UsageError for the disk.
    """

    session: aiohttp.ClientSession
    url: str
    part: Path
    size: int | None = None
    progress: ByteProgress | None = None
    _max_received: int = field(default=0, init=False)
    _tries: int = field(default=0, init=False)

    async def run(self) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(DownloadInterrupted),
            stop=lambda _: self._tries >= TRIES,
            wait=_wait,
            reraise=True,
        )
        try:
            await retrying(self._try)
        except DownloadInterrupted as error:
            raise ServiceError(f"{self.url}: {error}; the same command goes on where this ended") from None

    async def _try(self) -> None:
        received = self._received()
        self._max_received = max(self._max_received, received)
        if self.size is not None and received == self.size:
            return
        self._tries += 1
        # Sizes and ranges of a compressed response would not be those of the file.
        headers = {"Accept-Encoding": "identity"}
        if received:
            headers["Range"] = f"bytes={received}-"
        try:
            async with self.session.get(self.url, headers=headers) as response:
                await self._receive(response, received)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DownloadInterrupted(_cause(error)) from error
        self._check_size(self._received())

    async def _receive(self, response: aiohttp.ClientResponse, offset: int) -> None:
        self._check_status(response)
        start, total = _extent(response)
        if start not in {0, offset}:
            self._remove()
            raise DownloadInterrupted("the server answered with another range than it was asked for")
        if total is not None and self.size is not None and total != self.size:
            self._refuse_size(f"{total:,} bytes")
        received = start
        try:
            with self.part.open("ab" if start else "wb") as file:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    file.write(chunk)
                    received += len(chunk)
                    self._report(received)
                    if self.size is not None and received > self.size:
                        break
        except (aiohttp.ClientError, TimeoutError):
            raise
        except OSError as error:
            raise UsageError(f"{self.part}: cannot be written: {error.strerror or error}") from None

    def _check_status(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status in RETRIED_STATUSES:
            raise DownloadInterrupted(
                f"the server answers {status}", _seconds(response.headers.get("Retry-After"))
            )
        if status == 416:
            received = self._received()
            self._remove()
            if self.size is not None:
                self._refuse_size(f"no more than {received:,} bytes")
            raise DownloadInterrupted("the server's file is shorter than what was here already")
        if status not in {200, 206}:
            raise ServiceError(f"{self.url}: the server answers {status} {response.reason or ''}".rstrip())

    def _check_size(self, received: int) -> None:
        if self.size is not None and received < self.size:
            raise DownloadInterrupted(f"the server sent {received:,} of {self.size:,} bytes")
        if self.size is not None and received > self.size:
            self._refuse_size(f"at least {received:,} bytes")

    def _refuse_size(self, size: str) -> NoReturn:
        self._remove()
        raise ServiceError(
            f"{self.url}: has {size}, where the catalogue says {self.size:,}; "
            "one of them is out of date, try again later"
        )

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _remove(self) -> None:
        self.part.unlink(missing_ok=True)

    def _report(self, received: int) -> None:
        # A server that starts from the beginning each time sends no new bytes.
        if received > self._max_received:
            self._max_received, self._tries = received, 0
        if self.progress:
            self.progress(received)


def _extent(response: aiohttp.ClientResponse) -> tuple[int, int | None]:
    """Return the offset of the body, and the size of the whole file if known."""
    if response.status == 206:
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    is_plain = response.headers.get("Content-Encoding", "identity") == "identity"
    return 0, response.content_length if is_plain else None


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection broke"
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait: Retry-After up to a minute, else a random backoff."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, DownloadInterrupted) and error.retry_after is not None:
        return min(error.retry_after, MAX_RETRY_AFTER)
    return _backoff(state)
