"""Headers and query parameters of calls, without the secrets that they need."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

# An environment variable in a header or query parameter: `${NAME}`.
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET_NAME = re.compile(
    r"(^|[-_.])(authorization|auth|api[-_]?key|key|token|secret|password|cookie|signature|sig|code)$", re.I
)
SECRET_VALUE = re.compile(r"^(bearer|basic|sk-)", re.I)
HEADER_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
# The connection's own, and the gateway's.
OWN_HEADERS = {"host", "connection", "content-length", "content-type", "transfer-encoding",
               "accept-encoding", "expect"}  # fmt: skip


def _without_secrets(texts: dict[str, str]) -> dict[str, str]:
    for name, text in texts.items():
        if not text.isprintable():
            raise ValueError(f"{name} holds a character that is not printable")
        is_secret = SECRET_NAME.search(name) or SECRET_VALUE.search(text)
        if is_secret and not VARIABLE.search(text):
            raise ValueError(
                f"{name} would put a secret into the ledger; put it into an environment variable of the "
                f"workers, and write {name}: ${{NAME_OF_THE_VARIABLE}}"
            )
    return texts


def _sendable_headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if (
            not HEADER_NAME.match(name)
            or name.lower() in OWN_HEADERS
            or name.lower().startswith("x-starmill-")
        ):
            raise ValueError(f"{name} cannot be set as a header")
    return headers


Query = Annotated[dict[str, str], AfterValidator(_without_secrets)]
Headers = Annotated[Query, AfterValidator(_sendable_headers)]
