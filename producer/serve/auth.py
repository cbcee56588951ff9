"""Access to the run page: one password, sessions, delays after wrong tries, host names and security headers.

A session is a random token that only this process knows, so it cannot be forged; logout and a restart end it.
Programs send the password with each request instead."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.password_tries import PasswordTries, TooManyTries

SESSION_SECONDS = 7 * 86400.0
MAX_SESSIONS = 1000


class Sessions:
    """The password, open sessions, and wrong tries by address. `clock` gives steady seconds."""

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._password = _digest(password)
        self._clock = clock
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._tries = PasswordTries(clock)

    def accepts(self, password: str, address: str) -> bool:
        """Return whether this is the password. Raise TooManyTries if the address gave too many wrong ones."""
        return self._tries.admits(hmac.compare_digest(_digest(password), self._password), address)

    def open_session(self) -> str:
        """Open a session and return its token."""
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = self._clock() + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def knows(self, token: str) -> bool:
        return self._sessions.get(_digest(token), 0.0) > self._clock()

    def end_session(self, token: str) -> None:
        self._sessions.pop(_digest(token), None)


def _digest(text: str) -> bytes:
    """Return a digest of fixed length, safe to compare."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


COOKIE = "starmill_session"
LOGIN, HEALTH, METRICS, STATIC = "/login", "/healthcheck", "/metrics", "/static/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses every request that has neither session nor password, except for public pages.

    A new route is protected by default. `hosts` are names under which the page may be requested, beside
    addresses and localhost.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, hosts: Collection[str] = ()) -> None:
        self.app = app
        self.sessions = sessions
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            await (refusal or self.app)(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not self._is_our_host(headers.get("host", "")):
            return PlainTextResponse("not a name of this server; see `starmill serve --help`\n", 421)
        if path in {LOGIN, HEALTH} or path.startswith(STATIC):
            return None
        token = session_of(headers)
        if token and self.sessions.knows(token):
            scope["session"] = token
            return None
        return self._without_session(scope, headers, path)

    def _without_session(self, scope: Scope, headers: Headers, path: str) -> Response | None:
        try:
            password = password_of(headers)
            if password is not None and self.sessions.accepts(password, address_of(scope)):
                return None
        except TooManyTries as error:
            wait = {"Retry-After": str(round(error.seconds + 0.5))}
            return PlainTextResponse(f"{error}\n", 429, wait)
        if password is None and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{LOGIN}?next={quote(path)}", 303)
        # Browsers open their own password dialog for Basic: offer it on no page of ours.
        kind = "Basic" if path == METRICS else "Bearer"
        return PlainTextResponse(
            "a password is needed\n", 401, {"WWW-Authenticate": f'{kind} realm="starmill"'}
        )

    def _is_our_host(self, host: str) -> bool:
        """Return whether the Host header is an address or one of our names, against DNS rebinding."""
        name = host.lower()
        name = name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._hosts
        return True


def address_of(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def session_of(headers: Headers) -> str | None:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


def password_of(headers: Headers) -> str | None:
    """Return the password of HTTP Basic, whatever the user, or the bearer token."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
