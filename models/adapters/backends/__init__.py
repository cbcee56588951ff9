"""Models behind one interface; nothing else knows which server answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from models.adapters.backends.backend import Backend, LocalBackend
from models.adapters.backends.gateway_client import Gateway
from models.adapters.backends.openai import OpenAIBackend, is_official
from models.adapters.backends.replicas import Replicas
from models.adapters.backends.transformers_backend import TransformersBackend
from models.adapters.backends.vllm import VLLMBackend
from models.core.errors import ServiceError
from models.core.experiment.endpoints import Student, Teacher

# The embedded server works on this many calls at once; more would wait there while their timeout runs.
EMBEDDED_SLOTS = 4


def open_backend(
    endpoint: Teacher | Student, embedded_url: str | None, gateway: Gateway | None = None
) -> Backend:
    """The embedded model is asked without the gateway: its answers cost nothing.

    Raises AccessError without a key that is needed, ServiceError without the embedded server.
    """
    if isinstance(endpoint, Student) and endpoint.runs_in_worker:
        return open_local_backend(endpoint)
    if isinstance(endpoint, Student) and endpoint.replicas:
        return Replicas(endpoint, gateway)
    if endpoint.backend != "embedded":
        return OpenAIBackend(endpoint, endpoint.base_url, gateway)
    if embedded_url is None:
        raise ServiceError(
            f"{endpoint.name}: the embedded model is not running; run with --local, "
            "or start `python -m models.adapters.backends.llamacpp` and set STARMILL_EMBEDDED_URL to its URL"
        )
    slots = min(endpoint.max_concurrency, EMBEDDED_SLOTS)
    # Its own server needs no key, so none is sent.
    return OpenAIBackend(
        endpoint.model_copy(update={"max_concurrency": slots, "api_key_env": ""}), embedded_url
    )


def open_local_backend(student: Student) -> LocalBackend:
    """A model that this process is to run itself; it is opened when it is needed first.

    Raises AccessError for settings that the backend does not have.
    """
    return VLLMBackend(student) if student.backend == "vllm" else TransformersBackend(student)


def model_identity(endpoint: Teacher | Student) -> str:
    return f"{provider(endpoint)}/{endpoint.model_name}"


def provider(endpoint: Teacher | Student) -> str:
    """Who answers, as part of a request's identity: `openai`, `embedded`, `host:port/path`; or the backend
    that runs the model in the worker, with what is changed of the model. A replay stands for whoever it
    would ask; a recording may know better."""
    if endpoint.backend == "embedded":
        return "embedded"
    if isinstance(endpoint, Student) and endpoint.runs_in_worker:
        return "/".join([endpoint.backend, *_changes(endpoint)])
    if is_official(endpoint.base_url):
        return "openai"
    url = urlsplit(endpoint.base_url or "")
    return url.netloc.lower() + url.path.rstrip("/")


def limit_name(endpoint: Teacher | Student) -> str:
    """What shares the limits of requests, tokens and calls in flight: one model, asked with one key. A
    recording has no part in the limits of whom it stands for."""
    whose = endpoint.recording if endpoint.backend == "replay" else provider(endpoint)
    return f"{whose}/{endpoint.model_name}/{endpoint.api_key_env}"


def _changes(student: Student) -> list[str]:
    dtype = student.engine.dtype
    changes = [student.quantization, None if dtype == "auto" else dtype, student.engine.tokenizer]
    return [change for change in changes if change]
