"""Models behind one interface; nothing else knows which server answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from models.backends.base import Backend
from models.backends.gateway import Gateway
from models.backends.openai import OpenAIBackend, is_official
from models.endpoints import Teacher
from models.errors import ServiceError
from models.students import Student

# The embedded server works on this many calls at once; more would wait there while their timeout runs.
EMBEDDED_SLOTS = 4


def open_backend(
    endpoint: Teacher | Student, embedded_url: str | None, gateway: Gateway | None = None
) -> Backend:
    """The embedded model is asked without the gateway: its answers cost nothing.

    Raises AccessError without a key that is needed, ServiceError without the embedded server.
    """
    if endpoint.backend != "embedded":
        return OpenAIBackend(endpoint, endpoint.base_url, gateway)
    if embedded_url is None:
        raise ServiceError(
            f"{endpoint.name}: the embedded model is not running; run with --local, "
            "or start `python -m models.backends.llamacpp` and set STARMILL_EMBEDDED_URL to its URL"
        )
    slots = min(endpoint.max_concurrency, EMBEDDED_SLOTS)
    # Its own server needs no key, so none is sent.
    return OpenAIBackend(
        endpoint.model_copy(update={"max_concurrency": slots, "api_key_env": ""}), embedded_url
    )


def provider(endpoint: Teacher | Student) -> str:
    """Who answers, as part of a request's identity: `openai`, `embedded`, or `host:port/path`. A replay
    stands for whoever it would ask; a recording may know better."""
    if endpoint.backend == "embedded":
        return "embedded"
    if is_official(endpoint.base_url):
        return "openai"
    url = urlsplit(endpoint.base_url or "")
    return url.netloc.lower() + url.path.rstrip("/")
