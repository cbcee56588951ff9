"""The routes of the run page. The guard around them protects all that is not public."""

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
from producer.serve import row_pages
from producer.serve.auth import COOKIE, SESSION_SECONDS, Guard, Sessions, address_of
from producer.serve.metrics import exposition
from producer.serve.pages import HERE, list_context, render, run_context
from producer.serve.report_tables import TableMaker
from producer.serve.snapshots import RunSnapshot, SnapshotCache, Streams
from storage.ledger import queries
from storage.ledger.counts import RunSummary
from storage.ledger.runs import UnreadableRun
from storage.password_tries import TooManyTries
from storage.schema import PAUSED, RUNNING

PAGE = 50
TEXT = 4000
SCRAPED = 20
SCRAPE_SECONDS = 8.0
MAX_FORM_BYTES = 4096
OWN_PAGES = re.compile(r"/(runs/[\w.-]+(/(failures|rows))?)?")
# The report holds its own style and script, whose hash its own policy names; it may load nothing else.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Site:
    """The routes, and the state that they share."""

    snapshots: SnapshotCache
    tables: TableMaker
    sessions: Sessions
    streams: Streams

    async def runs(self, http: Request) -> Response:
        start = _integer(http, "start")
        return HTMLResponse(render("runs.html", live=await self._draw_runs(start), start=start))

    async def runs_events(self, http: Request) -> Response:
        start = _integer(http, "start")
        return self.streams.stream(lambda: self._draw_runs(start), lambda: self._is_logged_in(http))

    async def run(self, http: Request) -> Response:
        run = await self._requested_run(http)
        return HTMLResponse(render("run.html", live=await self._draw_run(run.id), run=run))

    async def run_events(self, http: Request) -> Response:
        run = await self._requested_run(http)
        return self.streams.stream(lambda: self._draw_run(run.id), lambda: self._is_logged_in(http))

    async def run_json(self, http: Request) -> Response:
        snapshot = await self._snapshot(http)
        return JSONResponse({**snapshot.status.document(), "counted_at": snapshot.at})

    async def failures(self, http: Request) -> Response:
        snapshot = await self._snapshot(http)
        reason, after = http.query_params.get("reason"), _integer(http, "after")
        units = await self.snapshots.query(queries.failed_page, snapshot.run.id, reason, after, PAGE + 1)
        rejected = {
            row.unit_id: await self.snapshots.query(queries.rejected_texts, row.unit_id)
            for row in units[:PAGE]
        }
        page = render(
            "failures.html",
            run=snapshot.run,
            reasons=snapshot.status.failures,
            reason=reason,
            rows=units[:PAGE],
            rejected=rejected,
            following=units[PAGE - 1].unit_id if len(units) > PAGE else None,
            after=after,
            longest=TEXT,
        )
        return HTMLResponse(page)

    async def rows(self, http: Request) -> Response:
        snapshot, asked = await self._snapshot(http), http.query_params
        stage, verdict = asked.get("step", ""), asked.get("verdict", "")
        try:
            before = row_pages.read_position(asked.get("before", ""))
        except ValueError as error:
            raise HTTPException(400, f"before {error}") from None
        rows, following = await self.snapshots.query(
            row_pages.rows_page, snapshot.run.id, stage, verdict, before, PAGE
        )
        page = render(
            "rows.html", run=snapshot.run, stages=list(snapshot.status.stages), stage=stage, rows=rows,
            verdicts=row_pages.VERDICTS, verdict=verdict, longest=TEXT, paged=before is not None,
            following=row_pages.written_position(following),
        )  # fmt: skip
        return HTMLResponse(page)

    async def row(self, http: Request) -> Response:
        run = await self._requested_run(http)
        document = await self.snapshots.query(row_pages.row_history, run.id, http.query_params.get("id", ""))
        if document is None:
            raise HTTPException(404, "no such row")
        parts = row_pages.result_parts
        return HTMLResponse(render("row.html", run=run, document=document, result_parts=parts, longest=TEXT))

    async def report(self, http: Request) -> Response:
        run = await self._requested_run(http)
        self.tables.begin(run)
        if self.tables.known(run.id) is None:
            await self.tables.finished()
        tables = self.tables.known(run.id)
        if tables is None:
            raise HTTPException(503, "the report is being made: try again in a moment")
        return FileResponse(
            tables.report,
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": REPORT_POLICY},
        )

    async def metrics(self, _: Request) -> Response:
        runs = list((await self.snapshots.runs()).values())
        live = [run for run in runs if run.state in {RUNNING, PAUSED}]
        others = [run for run in runs if run not in live][: max(0, SCRAPED - len(live))]
        chosen = sorted([*live, *others], key=lambda run: -run.created_at)
        counting = [asyncio.create_task(self.snapshots.read(run.id)) for run in chosen]
        if counting:
            # A scrape does not wait for a large run: the next scrape reads its counts.
            done, pending = await asyncio.wait(counting, timeout=SCRAPE_SECONDS)
            for task in pending:
                task.cancel()
            errors = [task.exception() for task in done]
            if (
                not pending
                and errors
                and all(each and not isinstance(each, UnreadableRun) for each in errors)
            ):
                raise ServiceError(str(errors[0]))
        known = [snapshot for run in chosen if (snapshot := self.snapshots.known(run.id))]
        return Response(exposition(known, time.time()), media_type=CONTENT_TYPE_LATEST)

    async def login_page(self, http: Request) -> Response:
        following = _next_page(http.query_params.get("next"))
        return HTMLResponse(render("login.html", following=following, says=""))

    async def login(self, http: Request) -> Response:
        if http.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise HTTPException(403, "only from our own page")
        form = parse_qs(await _body(http))
        following = _next_page(form.get("next", [""])[0])
        try:
            if self.sessions.accepts(form.get("password", [""])[0], address_of(http.scope)):
                return self._log_in(http, following)
        except TooManyTries as error:
            page = render("login.html", following=following, says=f"{error}.")
            return HTMLResponse(page, 429, {"Retry-After": str(round(error.seconds + 0.5))})
        return HTMLResponse(render("login.html", following=following, says="That is not the password."), 401)

    def _log_in(self, http: Request, following: str) -> Response:
        reply = RedirectResponse(following, 303)
        reply.set_cookie(
            COOKIE, self.sessions.open_session(), max_age=int(SESSION_SECONDS), httponly=True,
            samesite="strict",
            # A proxy with TLS says so; a client that lies only makes its own cookie useless.
            secure="https" in (http.url.scheme, http.headers.get("x-forwarded-proto")),
        )  # fmt: skip
        return reply

    async def logout(self, http: Request) -> Response:
        if token := http.scope.get("session"):
            self.sessions.end_session(token)
        reply = RedirectResponse("/login", 303)
        reply.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return reply

    async def _requested_run(self, http: Request) -> RunSummary:
        run = (await self.snapshots.runs()).get(http.path_params["run"])
        if run is None:
            raise HTTPException(404, "no such run")
        return run

    async def _snapshot(self, http: Request) -> RunSnapshot:
        return await self.snapshots.read((await self._requested_run(http)).id)

    def _is_logged_in(self, http: Request) -> bool:
        token = http.scope.get("session")
        return token is None or self.sessions.knows(token)

    async def _draw_run(self, run_id: str) -> str:
        try:
            snapshot = await self.snapshots.latest(run_id)
        except KeyError:
            raise HTTPException(404, "no such run") from None
        self.tables.begin(snapshot.run)
        return render("_run.html", **run_context(snapshot), tables=self.tables.known(run_id))

    async def _draw_runs(self, start: int) -> str:
        runs = list((await self.snapshots.runs()).values())
        shown = runs[start : start + PAGE]
        for run in shown:
            await self.snapshots.begin(run.id)
        known = {run.id: snapshot for run in shown if (snapshot := self.snapshots.known(run.id))}
        more = start + PAGE if len(runs) > start + PAGE else None
        return render("_runs.html", runs=list_context(shown, known), start=start, more=more, page=PAGE)


def application(site: Site, hosts: Collection[str] = ()) -> Guard:
    """Return the application behind its guard. Errors become pages with one line."""
    routes = [
        Route("/", site.runs),
        Route("/events", site.runs_events),
        Route("/runs/{run}", site.run),
        Route("/runs/{run}/events", site.run_events),
        Route("/runs/{run}/status.json", site.run_json),
        Route("/runs/{run}/failures", site.failures),
        Route("/runs/{run}/rows", site.rows),
        Route("/runs/{run}/row", site.row),
        Route("/runs/{run}/report", site.report),
        Route("/metrics", site.metrics),
        Route("/healthcheck", _healthcheck),
        Route("/login", site.login_page, methods=["GET"]),
        Route("/login", site.login, methods=["POST"]),
        Route("/logout", site.logout, methods=["POST"]),
        Route("/static/report.css", _report_style),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    handlers = {HTTPException: _http_error, ServiceError: _unavailable, UnreadableRun: _unreadable}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), site.sessions, hosts)


async def _healthcheck(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _report_style(_: Request) -> Response:
    style = Path(report_html.__file__).with_name("style.css")
    return FileResponse(style, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


async def _http_error(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _message(http, error.status_code, error.detail)


async def _unreadable(http: Request, error: Exception) -> Response:
    return _message(http, 409, str(error))


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
    """Return the page to show after the login, only one of our own."""
    return path if path and OWN_PAGES.fullmatch(path) else "/"
