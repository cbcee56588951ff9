"""The key, headers and query parameters of calls to a model server, as the environment fills them in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from models.core.errors import AccessError
from models.core.experiment.endpoints import Model
from models.core.experiment.headers import VARIABLE
from models.core.experiment.key_hosts import ANY_HOST, KeyHosts, is_official

# Servers that ask for no key still want the header.
NO_KEY = "unused"
# Which account pays, where a key may use several.
ACCOUNT = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
# Headers in which servers expect a key. A model that sets one sends no other key.
KEY_HEADERS = {"authorization", "api-key", "x-api-key"}


@dataclass(frozen=True, slots=True)
class Access:
    """The `key_variable` names the environment variable that holds the key, for messages; it is empty if no
    key is sent. `key` is empty if there is none, or if a header holds it. `secrets` are all texts that no
    message may quote."""

    key_variable: str
    key: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def is_keyed_by_header(self) -> bool:
        return any(name.lower() in KEY_HEADERS for name in self.headers)

    def url(self, base: str, path: str) -> str:
        return f"{base}{path}?{urlencode(self.query)}" if self.query else base + path

    def all_headers(self, url: str) -> dict[str, str]:
        """Return the headers of a call to `url`; those of the model win."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "starmill"}
        if not self.is_keyed_by_header:
            headers["Authorization"] = f"Bearer {self.key or NO_KEY}"
        if is_official(url):
            headers |= {
                name: value for name, variable in ACCOUNT.items() if (value := os.environ.get(variable))
            }
        given = {name.lower() for name in self.headers}
        kept = {name: value for name, value in headers.items() if name.lower() not in given}
        return {**kept, **self.headers}


def read_access(model: Model, url: str, key_hosts: KeyHosts = ANY_HOST) -> Access:
    """Read what the environment holds for the model at `url`. Raises AccessError if something is missing, or
    may not be sent to this host."""
    values = {name: _read_variable(name, where) for name, where in _variables(model).items()}

    def fill(texts: Mapping[str, str]) -> dict[str, str]:
        return {name: VARIABLE.sub(lambda match: values[match[1]], text) for name, text in texts.items()}

    headers, query = fill(model.headers), fill(model.query)
    keyed = "".join(text for name, text in model.headers.items() if name.lower() in KEY_HEADERS)
    key = "" if keyed else _read_key(model, url)
    for name in (*values, *([model.api_key_env] if key else [])):
        if not key_hosts.allows(name, url):
            raise AccessError(
                f"{model.name}: {name} may not be sent to {urlsplit(url).hostname}; "
                f"add the host to {name} in STARMILL_KEY_HOSTS of the workers, or name another variable"
            )
    variable = next(iter(VARIABLE.findall(keyed)), model.api_key_env)
    return Access(variable, key, headers, query, tuple(filter(None, [key, *values.values()])))


def _variables(model: Model) -> dict[str, str]:
    """Return each variable that headers and query name, and where."""
    return {
        variable: f"{model.name}: {key}.{name}"
        for key, texts in (("headers", model.headers), ("query", model.query))
        for name, text in texts.items()
        for variable in VARIABLE.findall(text)
    }


def _read_variable(variable: str, where: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise AccessError(f"{where}: set {variable} in the environment of the workers")
    return _require_sendable(value, variable)


def _read_key(model: Model, url: str) -> str:
    variable = model.api_key_env
    if not variable and is_official(url):
        raise AccessError(f"{model.name}: name the variable that holds a key of {url} in api_key_env")
    key = os.environ.get(variable, "").strip()
    if not key and is_official(url):
        raise AccessError(f"set {variable} to a key of {url}")
    return _require_sendable(key, variable)


def is_loopback(url: str) -> bool:
    """Return whether `url` is this machine, which no proxy can reach."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _require_sendable(value: str, variable: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise AccessError(f"the key in {variable} holds characters that no key has; set {variable} again")
    return value
