"""Who holds connections of the run page open without a whole request is cut off, and nobody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from producer.serve.bounded_connections import BoundedConnection
from tests.support.pipeline import Home
from tests.support.serving import served

PATIENCE = 60.0
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEADER = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Client = Callable[[], Awaitable[Streams]]


class ImpatientConnection(BoundedConnection):
    request_seconds = 0.3
    max_unfinished = 3


class PatientConnection(BoundedConnection):
    request_seconds = 1e6
    max_unfinished = 3


@asynccontextmanager
async def serving(connection: type[BoundedConnection], release: asyncio.Event) -> AsyncIterator[Client]:
    """Serve an application that answers once it is released, and yield what opens connections to it."""

    async def app(_: Any, __: Any, send: Any) -> None:
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(app, http=connection, ws="none", log_config=None, access_log=False)
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: connection(config, state, {}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    writers = []

    async def connect() -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    async with asyncio.timeout(PATIENCE):
        yield connect
        release.set()
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*state.tasks)


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


async def answer(client: Streams) -> bytes:
    return (await client[0].readuntil(b"ok")).partition(b"\r\n")[0]


@pytest.mark.parametrize("beginning", [b"", HEADER, BODY], ids=["nothing", "headers", "body"])
def test_request_that_is_never_whole_is_cut_however_many_bytes_come(beginning: bytes) -> None:
    async def dribble(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async def attack() -> None:
        release = asyncio.Event()
        async with serving(ImpatientConnection, release) as connect:
            reader, writer = await connect()
            writer.write(beginning)
            dribbling = asyncio.create_task(dribble(writer))
            assert await is_cut(reader)
            dribbling.cancel()

    asyncio.run(attack())


def test_long_answer_is_not_cut_and_its_connection_serves_again() -> None:
    async def ask() -> None:
        release = asyncio.Event()
        async with serving(ImpatientConnection, release) as connect:
            client = await connect()
            client[1].write(WHOLE)
            slow, _ = await connect()
            # When this one is cut, which came later, the time of the first is over as well.
            assert await is_cut(slow)
            release.set()
            assert await answer(client) == b"HTTP/1.1 200 OK"
            client[1].write(WHOLE)
            assert await answer(client) == b"HTTP/1.1 200 OK"

    asyncio.run(ask())


def test_oldest_unfinished_connection_is_cut_for_the_newest() -> None:
    async def attack() -> None:
        release = asyncio.Event()
        release.set()
        async with serving(PatientConnection, release) as connect:
            oldest, writer = await connect()
            writer.write(HEADER)
            others = [await connect() for _ in range(PatientConnection.max_unfinished)]
            assert await is_cut(oldest)
            for client in reversed(others):
                client[1].write(WHOLE)
                assert await answer(client) == b"HTTP/1.1 200 OK"

    asyncio.run(attack())


def test_run_page_answers_amid_connections_that_ask_nothing(tmp_path: Path) -> None:
    with served(Home(tmp_path / "home")) as page, ExitStack() as stack:
        held = []
        for _ in range(6 * BoundedConnection.max_unfinished):
            client = socket.create_connection(("127.0.0.1", page.port), PATIENCE)
            held.append(stack.enter_context(client))
            client.sendall(HEADER)
        assert page.ask("/healthcheck").status == 200
        with suppress(ConnectionResetError):
            assert held[0].recv(1) == b""
