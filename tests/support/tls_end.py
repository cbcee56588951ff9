"""A TLS proxy for a server of this machine: `python -m tests.support.tls_end BACKEND CERTIFICATE KEY`.

It prints its URL. BACKEND is a port, or the path of PostgreSQL's socket, whose clients ask for TLS first.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from contextlib import suppress

# Eight bytes, to which a server with TLS says S (PostgreSQL's documentation, "SSL Session Encryption").
SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))


async def main(backend: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if backend.isdigit():
            there, back = await asyncio.open_connection("127.0.0.1", int(backend))
        else:
            assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
            writer.write(b"S")
            try:
                await writer.start_tls(context)
            except (OSError, ssl.SSLError):  # a client that believes another
                writer.close()
                return
            there, back = await asyncio.open_unix_connection(backend)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    at_once = context if backend.isdigit() else None
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=at_once) as server:
        print(json.dumps({"url": f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
        await server.serve_forever()


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
