"""A model provider that follows a script: which reply each row gets, and how often.

    python -m tests.support.scripted_provider FILE [--port N]

FILE holds `{"cases": [...], "price": {"input": 2, "output": 4}}`; a case has a `name`, its `rows` (7 is
ROW-7; "all"), `times` (how often before the normal reply; absent: always) and the `reply`; or several such
`rules`. `longer_than` restricts a rule to prompts of more words. `verdicts` are what its judge model writes
for TEST-1, TEST-2, ... A case answers at /CASE/v1, and at /v1 for models named CASE, CASE-student and
CASE-judge.

GET /stats?case=CASE tells the requests of each row, what was sent, and what this provider bills. POST /cases
adds cases.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.openai_server.process import process_that_prints_its_url
from tests.openai_server.replies import error_response, words
from tests.support.scripted_replies import Reply, make_reply, normal_text, row_name, row_of, text_of

JUDGE, STUDENT = "-judge", "-student"
PRICE = {"input": 2.0, "output": 4.0}  # dollars per million tokens


@dataclass
class Case:
    """A script, and what was asked under it."""

    script: Mapping[str, Any]
    price: Mapping[str, float]
    used: Counter[tuple[int, str]] = field(default_factory=Counter)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the rules of each row once: a script may have thousands."""
        self._rules: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
        for number, rule in enumerate(self.script.get("rules") or [self.script]):
            rows = rule.get("rows", [])
            for row in ["all"] if rows == "all" else map(row_name, rows):
                self._rules[row].append((number, rule))

    def reply(self, body: Mapping[str, Any], row: str) -> Reply:
        verdicts = self.script.get("verdicts")
        if verdicts and str(body.get("model", "")).endswith(JUDGE):
            number = int(row.rpartition("-")[2] or 1)
            return make_reply({}, body, str(verdicts[(number - 1) % len(verdicts)]))
        return make_reply(self._next_script(body, row), body, normal_text(row))

    def stats(self) -> dict[str, Any]:
        billed = [call for call in self.calls if call["billed"]]
        paid = Counter(json.dumps(call["sent"], sort_keys=True) for call in billed)
        return {
            "requests": len(self.calls),
            "rows": Counter(call["row"] for call in self.calls),
            "billed": len(billed),
            "paid_twice": len(billed) - len(paid),
            "dollars": sum(call["dollars"] for call in billed),
            "calls": self.calls,
        }

    def _next_script(self, body: Mapping[str, Any], row: str) -> Mapping[str, Any]:
        for number, rule in [*self._rules.get(row, ()), *self._rules.get("all", ())]:
            long = len(words(text_of(body))) > rule.get("longer_than", -1)
            if "reply" in rule and long and self.used[number, row] < rule.get("times", 10**9):
                self.used[number, row] += 1
                return rule["reply"]
        return {}


class Provider:
    """Serves several cases at once."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self._price = script.get("price", PRICE)
        self.cases: dict[str, Case] = {}
        self.add(script["cases"])

    def add(self, cases: Sequence[Mapping[str, Any]]) -> None:
        self.cases |= {str(case["name"]): Case(case, self._price) for case in cases}

    async def complete(self, http: web.Request) -> web.StreamResponse:
        try:
            body = await http.json()
            row = row_of(text_of(body))
        except (ValueError, KeyError, TypeError):
            return error_response(400, "the body is neither a chat nor a completion")
        model = str(body.get("model", ""))
        case = self.cases.get(http.match_info.get("case") or model.removesuffix(JUDGE).removesuffix(STUDENT))
        if case is None:
            return error_response(404, "no case has this name", "model_not_found")
        reply = case.reply(body, row)
        case.calls.append(_record(http.path, row, body, reply, case.price))
        await asyncio.sleep(reply.delay_s)
        if reply.closes and http.transport is not None:
            http.transport.abort()
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)


def _record(
    path: str, row: str, body: Mapping[str, Any], reply: Reply, price: Mapping[str, float]
) -> dict[str, Any]:
    tokens = reply.billed
    dollars = (tokens.prompt * price["input"] + tokens.completion * price["output"]) / 1e6 if tokens else 0.0
    return {
        "at": time.time(), "path": path, "row": row, "model": body.get("model"), "sent": body,
        "status": reply.status, "billed": tokens is not None, "dollars": dollars,
    }  # fmt: skip


def application(provider: Provider) -> web.Application:
    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def models(_: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in provider.cases]}
        )

    async def stats(http: web.Request) -> web.Response:
        return web.json_response(provider.cases[http.query["case"]].stats())

    async def add(http: web.Request) -> web.Response:
        provider.add(await http.json())
        return web.json_response({"cases": len(provider.cases)})

    app = web.Application(client_max_size=256 * 2**20)
    for prefix in ("", "/{case}"):
        for path in ("chat/completions", "completions"):
            app.router.add_post(f"{prefix}/v1/{path}", provider.complete)
        app.router.add_get(f"{prefix}/health", healthy)
        app.router.add_get(f"{prefix}/v1/models", models)
    app.router.add_get("/stats", stats)
    app.router.add_post("/cases", add)
    return app


@dataclass(frozen=True)
class ScriptedProvider:
    """A running provider; `url` ends in /v1."""

    url: str

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def url_of(self, case: str) -> str:
        return f"{self.root}/{case}/v1"

    def stats(self, case: str) -> dict[str, Any]:
        return self._call(f"/stats?case={urllib.parse.quote(case)}")

    def add(self, cases: Sequence[Mapping[str, Any]]) -> None:
        self._call("/cases", json.dumps(cases).encode())

    def _call(self, path: str, data: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(self.root + path, data, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


@contextlib.contextmanager
def running_provider(
    cases: Sequence[Mapping[str, Any]], price: Mapping[str, float] = PRICE
) -> Iterator[ScriptedProvider]:
    """A provider in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as script:
        json.dump({"cases": list(cases), "price": dict(price)}, script)
        script.flush()
        with process_that_prints_its_url("tests.support.scripted_provider", script.name) as url:
            yield ScriptedProvider(url)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.scripted_provider", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("script", type=Path, metavar="FILE")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) picks a free one")
    options = parser.parse_args()
    provider = Provider(json.loads(options.script.read_text()))
    asyncio.run(_serve(provider, options.host, options.port))


async def _serve(provider: Provider, host: str, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(application(provider), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    address, bound = runner.addresses[0][:2]
    print(json.dumps({"url": f"http://{address}:{bound}/v1"}), flush=True)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    main()
