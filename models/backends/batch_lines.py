"""Lines of a batch's files: a call on its way up, its outcome on the way down."""

from __future__ import annotations

import json
from collections.abc import Mapping

from models.backends.failures import Address, error_of_status
from models.backends.openai import call_of, completion_of
from models.errors import ModelError, Unavailable
from models.types import Completion, Request


def endpoint_of(request: Request) -> str:
    return f"/v1{call_of(request)[0]}"


def line_of(key: str, request: Request) -> bytes:
    """A call as a line of the file that goes up; `key` comes back with its answer."""
    path, body = call_of(request)
    line = {"custom_id": key, "method": "POST", "url": f"/v1{path}", "body": body}
    return json.dumps(line).encode() + b"\n"


def outcome_of(line: bytes, address: Address) -> tuple[str, Completion | ModelError]:
    """Key and answer, or the error of a call that was not answered.

    Raises Unavailable where the line is not one of a batch.
    """
    try:
        found = json.loads(line)
        key, response, error = found["custom_id"], found.get("response"), found.get("error")
        status = int(response["status_code"]) if response else 0
    except (ValueError, TypeError, LookupError, AttributeError):
        said = address.quote(line.decode(errors="replace"))
        raise Unavailable(f"{address}: a line of results cannot be read: {said}") from None
    if not response:
        # Expired or cancelled: nothing was asked, and nothing is wrong with the call.
        code = error.get("code") if isinstance(error, Mapping) else error
        return key, Unavailable(f"{address}: not answered: {address.quote(code)}")
    body = response.get("body")
    text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    if 200 <= status < 300:
        return key, completion_of(text, address)
    return key, error_of_status(status, {}, text, address)
