"""What devdocs publishes: the list of its documentations, and where their files are."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from models.errors import ServiceError, UsageError

CATALOGUE = "docs.json"
# It becomes the name of a folder.
SLUG = re.compile(r"[a-z0-9_][a-z0-9_.~-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Site:
    """`catalogue` is a URL, `documents` one that `/SLUG/FILE` is added to."""

    catalogue: str
    documents: str


DEVDOCS = Site("https://devdocs.io/docs.json", "https://documents.devdocs.io")


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the catalogue. `mtime` (seconds since 1970) names the edition, `size` is that of db.json."""

    slug: str
    mtime: int
    size: int
    meta: Mapping[str, Any]


def mirror(url: str) -> Site:
    """A server with the same files below one address. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--from needs a URL such as https://mirror.example/docs")
    if "@" in parts.netloc:
        raise UsageError("--from holds a user or a password; give a URL without")
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return Site(f"{base}/{CATALOGUE}", base)


def parse_catalogue(content: bytes, url: str) -> dict[str, Listed]:
    """Slug -> line. Raises ServiceError."""
    try:
        rows = json.loads(content)
        listed = [Listed(row["slug"], int(row["mtime"]), int(row["db_size"]), row) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ServiceError(f"{url} is no list of documentations; check --from") from None
    if bad := [entry.slug for entry in listed if not SLUG.fullmatch(str(entry.slug))]:
        raise ServiceError(f"{url} lists {bad[0]!r}, which is no name of a folder; check --from")
    return {entry.slug: entry for entry in listed}


def find(catalogue: Mapping[str, Listed], slugs: Sequence[str]) -> list[Listed]:
    """The lines of `slugs`, each once. Raises UsageError with the names that are near."""
    for slug in slugs:
        if slug not in catalogue:
            versions = [known for known in catalogue if known.partition("~")[0] == slug.partition("~")[0]]
            near = difflib.get_close_matches(slug, versions or list(catalogue), n=3, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(near or versions[:3])}?" if near or versions else "see devdocs.io"
            )
            raise UsageError(f"devdocs has no documentation {slug}; {hint}")
    return [catalogue[slug] for slug in dict.fromkeys(slugs)]
