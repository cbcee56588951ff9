"""The gateway that makes the HTTP calls of workers.

    STARMILL_GATEWAY_URL=http://:TOKEN@127.0.0.1:8081 python -m worker.gateway

Prints `{"url": "http://127.0.0.1:8081"}` as soon as it listens. At SIGTERM or SIGINT it accepts no more calls
and ends when those that workers wait for are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import web

from models.adapters.backends.gateway_client import address_and_token
from models.core.display import visible
from models.core.errors import ServiceError, UsageError
from storage.logs import configure_logging
from storage.settings import load_settings
from worker.gateway.answer_cache import AnswerCache
from worker.gateway.relay import Relay, application

# Less than launchers wait before they kill a process that they stop.
SHUTDOWN_SECONDS = 25.0


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code, 2 if the gateway cannot start."""
    options = _parser().parse_args(argv)
    try:
        settings = load_settings()
        if settings.gateway_url is None:
            raise ServiceError("set STARMILL_GATEWAY_URL, as in http://:TOKEN@127.0.0.1:8081")
        url, token = address_and_token(settings.gateway_url.get_secret_value())
        configure_logging(settings.log_level, settings.log_format)
        port = options.port if options.port is not None else urlsplit(url).port or 0
        cache = AnswerCache(options.hold_seconds, int(options.hold_mib * 2**20), time.monotonic)
        asyncio.run(_serve(application(Relay(cache), token), options.host, port))
    except UsageError as error:
        sys.stderr.write(f"{visible(str(error))}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="default: that of STARMILL_GATEWAY_URL; 0 picks a free one")
    parser.add_argument(
        "--hold-seconds", type=float, default=3600.0, help="how long an answer waits for its commit"
    )
    parser.add_argument(
        "--hold-mib", type=float, default=256.0, help="maximum MiB of answers; the oldest go first"
    )
    return parser


async def _serve(app: web.Application, host: str, port: int) -> None:
    """Serve until a signal. Raise ServiceError if the port cannot be used."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    # If a worker disconnects, its handler is cancelled; the call goes on.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, handler_cancellation=True)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:
            raise ServiceError(f"the gateway cannot listen on {host}:{port}: {error}") from None
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        sys.stdout.write(json.dumps({"url": f"http://{shown}:{bound}"}) + "\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    raise SystemExit(main())
