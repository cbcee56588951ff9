"""The hosts to which keys may be sent: OpenAI's own by default, and what an operator allows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

OFFICIAL_URL = "https://api.openai.com/v1"
OFFICIAL_KEY = "OPENAI_API_KEY"
NETWORKED = ("openai", "server")
HOST_PATTERN = re.compile(r"(\*\.)?[A-Za-z0-9._:\[\]-]+")


def is_official(base_url: str | None) -> bool:
    """Return whether this is OpenAI's own API, which is asked without a `base_url`."""
    return base_url is None or urlsplit(base_url).hostname == urlsplit(OFFICIAL_URL).hostname


def default_key_variable(settings: Mapping[str, Any]) -> str:
    """Return the variable of the key of a model that names none: OpenAI's for OpenAI alone, by TLS."""
    urls = [settings.get("base_url"), *settings.get("replicas", ())]
    if settings.get("backend") in NETWORKED and all(map(_is_official_tls, urls)):
        return OFFICIAL_KEY
    return ""


def _is_official_tls(url: str | None) -> bool:
    return is_official(url) and (url or OFFICIAL_URL).lower().startswith("https:")


@dataclass(frozen=True, slots=True)
class KeyHosts:
    """Hosts by environment variable; with none at all, each variable may go where a model names it."""

    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def allows(self, variable: str, url: str) -> bool:
        host = (urlsplit(url).hostname or "").lower()
        return not self.hosts or any(_matches(host, each) for each in self.hosts.get(variable, ()))


ANY_HOST = KeyHosts()


def parse_key_hosts(text: str) -> KeyHosts:
    """Parse `VARIABLE=host,*.domain;OTHER=host`. Raise ValueError for anything else."""
    hosts: dict[str, list[str]] = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        variable, _, names = entry.partition("=")
        patterns = [name.strip().lower() for name in names.split(",")]
        if not variable.strip().isidentifier() or not all(map(HOST_PATTERN.fullmatch, patterns)):
            raise ValueError(
                "give hosts by variable, as in OPENAI_API_KEY=api.openai.com,*.azure.com;KEY=host"
            )
        hosts.setdefault(variable.strip(), []).extend(patterns)
    return KeyHosts(hosts)


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
