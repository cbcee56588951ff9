"""python -m tests.openai_server: prints its URL as one JSON line and answers until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from aiohttp import web

from tests.openai_server.answers import Answers
from tests.openai_server.app import Server, application
from tests.openai_server.behaviour import Behaviour
from tests.openai_server.rules import RuledAnswers


def main() -> None:
    options = vars(_parser().parse_args())
    host, port, references = options.pop("host"), options.pop("port"), options.pop("references")
    rules = options.pop("rules")
    answers = Answers.load(references) if references else RuledAnswers.read(rules) if rules else Answers()
    asyncio.run(_serve(Server(answers, Behaviour(**options)), host, port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.openai_server",
        description="A model server that speaks the OpenAI protocol, costs nothing, and can be made to fail.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) picks a free one")
    parser.add_argument("--references", type=Path, metavar="JSONL", help="rows of `request, reference`")
    parser.add_argument("--rules", type=Path, metavar="JSON", help="rules by which prompts are answered")
    defaults = Behaviour()
    for name, kind in Behaviour.types().items():
        flag, says = f"--{name.replace('_', '-')}", Behaviour.help(name)
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=True, help=says)
        else:
            parser.add_argument(flag, type=kind, default=getattr(defaults, name), help=says)
    return parser


async def _serve(server: Server, host: str, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(application(server), access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    address, bound = runner.addresses[0][:2]
    print(json.dumps({"url": f"http://{address}:{bound}/v1"}), flush=True)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
