"""The routes. Whatever is not public is behind the guard, which stands around them all."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from models.core.errors import ServiceError
from producer.results.report import html as report_html
from producer.serve.auth import COOKIE, SESSION_SECONDS, Guard, Sessions, TooManyTries, address_of
from producer.serve.metrics import exposition
from producer.serve.pages import HERE, list_context, render, run_context
from producer.serve.report_tables import TableMaker
from producer.serve.snapshots import RunSnapshot, RunSnapshots, Streams
from storage.ledger import queries
from storage.ledger.counts import RunLine
from storage.schema import PAUSED, RUNNING

PAGE = 50
TEXT = 4000
SCRAPED = 20
SCRAPE_SECONDS = 8.0
MAX_FORM_BYTES = 4096
OWN_PAGES = re.compile(r"/(runs/[\w.-]+(/failures)?)?")
# The report brings its style and script along, whose hash its own policy names; it may touch nothing else.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Site:
    """What the routes share."""

    readings: RunSnapshots
    tables: TableMaker
    doors: Sessions
    streams: Streams

    async def runs(self, http: Request) -> Response:
        start = _integer(http, "start")
        return HTMLResponse(render("runs.html", live=await self._draw_runs(start), start=start))

    async def runs_events(self, http: Request) -> Response:
        start = _integer(http, "start")
        return self.streams.stream(lambda: self._draw_runs(start), lambda: self._goes_on(http))

    async def run(self, http: Request) -> Response:
        line = await self._line(http)
        return HTMLResponse(render("run.html", live=await self._draw_run(line.id), line=line))

    async def run_events(self, http: Request) -> Response:
        line = await self._line(http)
        return self.streams.stream(lambda: self._draw_run(line.id), lambda: self._goes_on(http))

    async def run_json(self, http: Request) -> Response:
        reading = await self._read(http)
        return JSONResponse({**reading.status.document(), "counted_at": reading.at})

    async def failures(self, http: Request) -> Response:
        reading = await self._read(http)
        reason, after = http.query_params.get("reason"), _integer(http, "after")
        found = await self.readings.ask(queries.failed, reading.line.id, reason, after, PAGE + 1)
        rejected = {
            row.unit_id: await self.readings.ask(queries.rejected_texts, row.unit_id) for row in found[:PAGE]
        }
        page = render(
            "failures.html",
            line=reading.line,
            reasons=reading.status.failures,
            reason=reason,
            rows=found[:PAGE],
            rejected=rejected,
            following=found[PAGE - 1].unit_id if len(found) > PAGE else None,
            after=after,
            longest=TEXT,
        )
        return HTMLResponse(page)

    async def report(self, http: Request) -> Response:
        line = await self._line(http)
        self.tables.begin(line)
        if self.tables.known(line.id) is None:
            await self.tables.made()
        made = self.tables.known(line.id)
        if made is None:
            raise HTTPException(503, "the report is being made: try again in a moment")
        return FileResponse(
            made.report,
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": REPORT_POLICY},
        )

    async def metrics(self, _: Request) -> Response:
        lines = list((await self.readings.runs()).values())
        live = [line for line in lines if line.state in {RUNNING, PAUSED}]
        others = [line for line in lines if line not in live][: max(0, SCRAPED - len(live))]
        chosen = sorted([*live, *others], key=lambda line: -line.created_at)
        counting = [asyncio.create_task(self.readings.read(line.id)) for line in chosen]
        if counting:
            # A scrape does not wait for a large run; the next one finds it counted.
            done, pending = await asyncio.wait(counting, timeout=SCRAPE_SECONDS)
            for task in pending:
                task.cancel()
            if not pending and done and all(task.exception() for task in done):
                raise ServiceError(str(next(iter(done)).exception()))
        found = [reading for line in chosen if (reading := self.readings.known(line.id))]
        return Response(exposition(found, time.time()), media_type=CONTENT_TYPE_LATEST)

    async def login_page(self, http: Request) -> Response:
        return HTMLResponse(
            render("login.html", following=_next_page(http.query_params.get("next")), says="")
        )

    async def login(self, http: Request) -> Response:
        if http.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise HTTPException(403, "only from our own page")
        form = parse_qs(await _body(http))
        following = _next_page(form.get("next", [""])[0])
        try:
            if self.doors.accepts(form.get("password", [""])[0], address_of(http.scope)):
                return self._enter(http, following)
        except TooManyTries as error:
            page = render("login.html", following=following, says=f"{error}.")
            return HTMLResponse(page, 429, {"Retry-After": str(round(error.seconds + 0.5))})
        return HTMLResponse(render("login.html", following=following, says="That is not the password."), 401)

    def _enter(self, http: Request, following: str) -> Response:
        reply = RedirectResponse(following, 303)
        reply.set_cookie(
            COOKIE, self.doors.open_session(), max_age=int(SESSION_SECONDS), httponly=True, samesite="strict",
            # Whoever speaks TLS for us says so; a lie only makes the cookie useless to the liar.
            secure="https" in (http.url.scheme, http.headers.get("x-forwarded-proto")),
        )  # fmt: skip
        return reply

    async def logout(self, http: Request) -> Response:
        if token := http.scope.get("session"):
            self.doors.end_session(token)
        reply = RedirectResponse("/login", 303)
        reply.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return reply

    async def _line(self, http: Request) -> RunLine:
        line = (await self.readings.runs()).get(http.path_params["run"])
        if line is None:
            raise HTTPException(404, "no such run")
        return line

    async def _read(self, http: Request) -> RunSnapshot:
        return await self.readings.read((await self._line(http)).id)

    def _goes_on(self, http: Request) -> bool:
        """A page whose session has ended shows no more."""
        token = http.scope.get("session")
        return token is None or self.doors.knows(token)

    async def _draw_run(self, run_id: str) -> str:
        try:
            reading = await self.readings.latest(run_id)
        except KeyError:
            raise HTTPException(404, "no such run") from None
        self.tables.begin(reading.line)
        return render("_run.html", **run_context(reading), tables=self.tables.known(run_id))

    async def _draw_runs(self, start: int) -> str:
        lines = list((await self.readings.runs()).values())
        shown = lines[start : start + PAGE]
        for line in shown:
            await self.readings.begin(line.id)
        known = {line.id: found for line in shown if (found := self.readings.known(line.id))}
        more = start + PAGE if len(lines) > start + PAGE else None
        return render("_runs.html", runs=list_context(shown, known), start=start, more=more, page=PAGE)


def application(site: Site, hosts: Collection[str] = ()) -> Guard:
    """Raises nothing: whatever goes wrong later is a page that says so in one line."""
    routes = [
        Route("/", site.runs),
        Route("/events", site.runs_events),
        Route("/runs/{run}", site.run),
        Route("/runs/{run}/events", site.run_events),
        Route("/runs/{run}/status.json", site.run_json),
        Route("/runs/{run}/failures", site.failures),
        Route("/runs/{run}/report", site.report),
        Route("/metrics", site.metrics),
        Route("/healthcheck", _healthcheck),
        Route("/login", site.login_page, methods=["GET"]),
        Route("/login", site.login, methods=["POST"]),
        Route("/logout", site.logout, methods=["POST"]),
        Route("/static/report.css", _report_style),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    handlers = {HTTPException: _http_error, ServiceError: _unavailable}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), site.doors, hosts)


async def _healthcheck(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _report_style(_: Request) -> Response:
    style = Path(report_html.__file__).with_name("style.css")
    return FileResponse(style, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


async def _http_error(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _message(http, error.status_code, error.detail)


async def _unavailable(http: Request, error: Exception) -> Response:
    return _message(http, 503, str(error))


def _message(http: Request, status: int, says: str) -> Response:
    if "text/html" in http.headers.get("accept", ""):
        return HTMLResponse(render("message.html", says=says), status)
    return PlainTextResponse(f"{says}\n", status)


async def _body(http: Request) -> str:
    text = b""
    async for part in http.stream():
        text += part
        if len(text) > MAX_FORM_BYTES:
            raise HTTPException(413, "too long")
    return text.decode(errors="replace")


def _integer(http: Request, name: str) -> int:
    text = http.query_params.get(name, "0")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise HTTPException(400, f"{name} is no whole number")
    return int(text)


def _next_page(path: str | None) -> str:
    """The page after the login: one of ours."""
    return path if path and OWN_PAGES.fullmatch(path) else "/"
