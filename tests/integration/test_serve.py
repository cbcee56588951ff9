"""The run page as a process: who gets in, what it tells, and that it agrees with `starmill status`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Mount, Route

from producer.progress.status import LimitWatch
from producer.serve.app import Site, application
from producer.serve.auth import HEADERS, Sessions
from producer.serve.report_tables import TableMaker
from producer.serve.snapshots import SnapshotCache, Streams
from storage.database import Database
from storage.ledger import counts
from storage.schema import FAILED
from storage.settings import load_settings
from tests.support.pipeline import Home
from tests.support.serving import HOSTILE, PASSWORD, PAUSED_RUN, RUN, Served, fill, served

PUBLIC = {"/login", "/healthcheck", "/static"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    created = Home(tmp_path_factory.mktemp("serve") / "home")
    with created.ledger() as db:
        fill(db)
    return created


@pytest.fixture(scope="module")
def site(home: Home) -> Iterator[Served]:
    with served(home, "--allow-host", "runs.example.org") as site:
        yield site


def routes(tmp_path: Path) -> list[tuple[str, str]]:
    """(method, path) of every route of the application, of a run that there is."""
    db = Database("sqlite://")
    snapshots = SnapshotCache(db, LimitWatch(load_settings()))
    app = application(Site(snapshots, TableMaker(tmp_path), Sessions("x"), Streams())).app
    pairs = []
    for route in app.routes:  # type: ignore[attr-defined]
        assert isinstance(route, Route | Mount), "a kind of route that this test does not know"
        for method in getattr(route, "methods", None) or {"GET"}:
            pairs.append((method, route.path.replace("{run}", RUN)))
    snapshots.close()
    db.close()
    return pairs


def test_every_route_refuses_without_the_password(site: Served, tmp_path: Path) -> None:
    asked = routes(tmp_path)
    assert len(asked) > 15
    for method, path in asked:
        if any(path.startswith(public) for public in PUBLIC):
            continue
        replies = [
            site.ask(path, method),
            site.ask(path, method, accept="text/html"),
            site.ask(path, method, password="wrong"),
            site.ask(path, method, bearer=""),
            site.ask(path, method, cookie="starmill_session=wrong"),
            site.ask(f"{path}?password={quote(PASSWORD)}", method),
            site.ask(path, method, Upgrade="websocket", Connection="Upgrade"),
        ]
        for reply in replies:
            assert reply.status in {303, 401, 405, 429}, (method, path)
            assert reply.text in {"", "a password is needed\n"} or reply.status == 429
            assert "small" not in reply.text
    # What is wrong is asked for again only after a while, and the right one waits, too.
    assert site.ask("/metrics", password=PASSWORD).status == 429
    assert site.ask("/metrics", password=PASSWORD).headers["retry-after"].isdecimal()


@pytest.fixture(scope="module")
def open_site(home: Home) -> Iterator[Served]:
    """Another, from which nobody was turned away."""
    with served(home, "--allow-host", "runs.example.org") as site:
        yield site


def test_public_routes_show_no_run(site: Served) -> None:
    assert site.ask("/healthcheck").text == "ok\n"
    for path in ("/login", "/static/page.css", "/static/live.js", "/static/report.css"):
        reply = site.ask(path)
        assert reply.status == 200
        assert RUN not in reply.text
    assert site.ask("/static/../app.py").status == 404
    assert site.ask("/static/%2e%2e/app.py").status == 404


def test_a_session_begins_with_the_password_and_ends_with_the_logout(open_site: Served) -> None:
    refused = open_site.ask("/runs/x", accept="text/html")
    assert (refused.status, refused.headers["location"]) == (303, "/login?next=/runs/x")
    entered = open_site.ask("/login", "POST", form={"password": PASSWORD, "next": f"/runs/{RUN}"})
    assert (entered.status, entered.headers["location"]) == (303, f"/runs/{RUN}")
    set_cookie = entered.headers["set-cookie"].lower()
    assert all(word in set_cookie for word in ("httponly", "samesite=strict", "path=/"))
    assert "secure" not in set_cookie
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert open_site.ask("/", cookie=cookie).status == 200
    assert open_site.ask("/", cookie=cookie[:-1]).status == 401
    assert open_site.ask("/logout", "POST", cookie=cookie).status == 303
    assert open_site.ask("/", cookie=cookie).status == 401
    behind_tls = open_site.ask("/login", "POST", form={"password": PASSWORD}, X_Forwarded_Proto="https")
    assert "secure" in behind_tls.headers["set-cookie"].lower()


def test_the_login_leads_to_no_other_site(open_site: Served) -> None:
    for following in ("//evil.example", "https://evil.example", "/\\evil.example", "/login"):
        reply = open_site.ask("/login", "POST", form={"password": PASSWORD, "next": following})
        assert reply.headers["location"] == "/"
    crossing = open_site.ask("/login", "POST", form={"password": PASSWORD}, Sec_Fetch_Site="cross-site")
    assert crossing.status == 403
    assert open_site.ask("/login", "POST", form={"password": "x" * 5000}).status == 413


def test_other_host_names_are_refused(open_site: Served) -> None:
    for host in ("localhost", "127.0.0.1:80", "[::1]:80", "10.1.2.3", "runs.example.org:8321"):
        assert open_site.ask("/healthcheck", Host=host).status == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", ""):
        assert open_site.ask("/healthcheck", Host=host).status in {400, 421}


def test_every_reply_forbids_what_a_page_does_not_need(open_site: Served) -> None:
    cookie = open_site.log_in()
    for path in ("/", f"/runs/{RUN}", "/login", "/metrics", "/nowhere"):
        reply = open_site.ask(path, cookie=cookie)
        assert {name: reply.headers[name.lower()] for name in HEADERS} == HEADERS
        assert "server" not in reply.headers


def test_the_page_agrees_with_the_status(open_site: Served, home: Home) -> None:
    status = home.json("status", RUN)
    shown = json.loads(open_site.ask(f"/runs/{RUN}/status.json", bearer=PASSWORD).text)
    for name in ("units", "stages", "variants", "calls", "tokens", "cost_usd", "budget_usd", "charged_usd",
                 "failures", "rejections", "planned", "limits"):  # fmt: skip
        assert shown[name] == status[name], name
    page = open_site.ask(f"/runs/{RUN}", password=PASSWORD).text
    final = sum(status["units"][state] for state in ("done", "skipped", "failed"))
    assert f"{final:,} of {status['planned']:,} units" in page
    assert f"${status['cost_usd']:,.4f} of ${status['budget_usd']:,.2f}" in page
    for stage, states in status["stages"].items():
        row = re.search(rf'<tr><td data-head="">{stage}</td>.*?</tr>', page, re.DOTALL)
        assert row
        cells = dict(re.findall(r'data-head="([A-Z][a-z ]+)">([\d,-]+)<', row.group()))
        numbers = {
            head: 0 if number == "-" else int(number.replace(",", "")) for head, number in cells.items()
        }
        assert numbers == {
            "Planned": states["planned"], "Waiting": states["waiting"], "Ready": states["ready"],
            "In flight": states["in_flight"], "Done": states["done"], "Skipped": states["skipped"],
            "Failed": states["failed"],
        }  # fmt: skip
    listed = open_site.ask("/", password=PASSWORD).text
    assert f'href="/runs/{RUN}"' in listed
    assert f'href="/runs/{PAUSED_RUN}"' in listed


def test_failures_lead_to_the_rows_behind_them(open_site: Served, home: Home) -> None:
    with home.ledger() as db:
        reasons = counts.failure_reasons(db, RUN)
    page = open_site.ask(f"/runs/{RUN}", password=PASSWORD).text
    links = re.findall(r'href="(/runs/[^"]*/failures\?reason=[^"]*)"', page)
    assert len(links) == len(reasons)
    path, units = f"/runs/{RUN}/failures?reason=refusal", []
    while path:
        listed = open_site.ask(path, password=PASSWORD).text
        units += re.findall(r"unit (\d+),", listed)
        assert HOSTILE not in listed
        match = re.search(r'rel="next" href="([^"]*)"', listed)
        path = f"/runs/{RUN}/failures{match.group(1).replace('&amp;', '&')}" if match else ""
    assert len(units) == len(set(units)) == reasons["refusal"]
    shown = home.json("failures", RUN, "--reason", "refusal")["failures"]
    assert {int(unit) for unit in units} == {each["unit"] for each in shown}
    assert "No unit failed for nothing" in open_site.ask(
        f"/runs/{RUN}/failures?reason=nothing", password=PASSWORD
    ).text  # fmt: skip


def test_missing_page_is_answered_in_one_line(open_site: Served) -> None:
    for path, status, says in (
        ("/runs/nobody", 404, "no such run"),
        ("/runs/nobody/events", 404, "no such run"),
        ("/nowhere", 404, "Not Found"),
        (f"/runs/{RUN}/row?id=nothing", 404, "no such row"),
        (f"/runs/{RUN}/rows?before=x", 400, "before is no position in a list of rows"),
        (f"/runs/{RUN}/failures?after=x", 400, "after is no whole number"),
        ("/?start=-1", 400, "start is no whole number"),
    ):
        reply = open_site.ask(path, password=PASSWORD)
        assert (reply.status, reply.text) == (status, f"{says}\n")


def test_tables_and_report_are_those_of_the_run(open_site: Served) -> None:
    report = open_site.ask(f"/runs/{RUN}/report", password=PASSWORD)
    assert report.status == 200
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert "Paired differences" in report.text
    page = open_site.ask(f"/runs/{RUN}", password=PASSWORD).text
    assert "Synthetic set" in page
    assert "STaR" in page


def test_events_bring_what_changes(open_site: Served, home: Home) -> None:
    [first] = open_site.events(f"/runs/{RUN}/events", 1)
    assert '<section id="stages">' in first
    pages = open_site.events("/events", 1)
    assert RUN in pages[0]


def test_a_page_that_is_open_when_the_server_ends_does_not_hold_it_up(home: Home) -> None:
    with served(home) as site:
        site.events("/events", 1)
        cookie = site.log_in()
        site.ask("/events", cookie=cookie, read=False)


def test_metrics_are_those_of_the_ledger(open_site: Served, home: Home) -> None:
    status = home.json("status", RUN)
    text = open_site.ask("/metrics", bearer=PASSWORD)
    assert text.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.text)
        for sample in family.samples
    }
    for stage, states in status["stages"].items():
        for state in ("waiting", "ready", "in_flight", "done", "failed", "skipped"):
            key = ("starmill_units", (("run", RUN), ("stage", stage), ("state", state)))
            assert samples[key] == states[state]
    assert samples["starmill_calls_total", (("run", RUN),)] == status["calls"]
    assert samples["starmill_cost_dollars_total", (("run", RUN),)] == pytest.approx(status["cost_usd"])
    assert samples["starmill_budget_dollars", (("run", RUN),)] == 0.9
    assert (
        samples["starmill_failures", (("reason", "refusal"), ("run", RUN))] == status["failures"]["refusal"]
    )
    state = ("starmill_run_state", (("experiment", "small"), ("run", PAUSED_RUN), ("state", "paused")))
    assert samples[state] == 1


def test_a_password_is_made_up_on_this_machine_only(home: Home) -> None:
    with served(home, password=None) as site:
        made = re.search(r"password: (\S+) ", site.startup_output)
        assert made
        assert len(made.group(1)) >= 16
        assert site.ask("/metrics", bearer=made.group(1)).status == 200
    refused = home.starmill("serve", "--host", "0.0.0.0", "--port", "0", expect=2)
    assert refused.stderr == (
        "starmill: --host 0.0.0.0 is open to others: set STARMILL_DASHBOARD_PASSWORD\n"
    )  # fmt: skip
    short = Home(home.path, {"STARMILL_DASHBOARD_PASSWORD": "secret"}).starmill("serve", expect=2)
    assert short.stderr == "starmill: STARMILL_DASHBOARD_PASSWORD is too short: give at least 8 characters\n"


def test_taken_port_is_named_in_one_line(open_site: Served, home: Home) -> None:
    other = Home(home.path, {"STARMILL_DASHBOARD_PASSWORD": PASSWORD})
    stderr = other.starmill("serve", "--port", open_site.port, expect=2).stderr
    assert stderr.startswith(f"starmill: cannot listen on 127.0.0.1:{open_site.port}: Address already in use")
    assert len(stderr.splitlines()) == 1


def test_failed_units_are_as_many_as_the_ledger_says(open_site: Served, home: Home) -> None:
    with home.ledger() as db:
        failed = counts.funnel(db, RUN, 0.0).total()[FAILED]
    assert f"all {failed}" in open_site.ask(f"/runs/{RUN}/failures", password=PASSWORD).text
