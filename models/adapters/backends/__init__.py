"""Model backends behind one interface; `open_backend` chooses by the experiment's `backend`."""

from __future__ import annotations

from urllib.parse import urlsplit

from models.adapters.backends.backend import Backend, LocalBackend
from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.backends.openai import OpenAIBackend, is_official
from models.adapters.backends.replicas import Replicas
from models.adapters.backends.transformers_backend import TransformersBackend
from models.adapters.backends.vllm import VLLMBackend
from models.core.errors import ServiceError
from models.core.experiment.endpoints import Student, Teacher

# The embedded server answers this many calls at once; more would wait there while their timeout runs.
EMBEDDED_SLOTS = 4


def open_backend(
    endpoint: Teacher | Student, embedded_url: str | None, gateway: GatewayClient | None = None
) -> Backend:
    """Open the backend of `endpoint`. The embedded model is asked without the gateway: its answers are free.

    Raises AccessError if a needed key is missing, ServiceError if the embedded server is not running.
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
    """Return a model that this process runs itself; the first call opens it.

    Raises AccessError for settings that the backend does not have.
    """
    return VLLMBackend(student) if student.backend == "vllm" else TransformersBackend(student)


def model_identity(endpoint: Teacher | Student) -> str:
    return f"{provider(endpoint)}/{endpoint.model_name}"


def provider(endpoint: Teacher | Student) -> str:
    """Return the provider's name in a request's key: `openai`, `embedded`, `host:port/path`.

    For a model in the worker it is the backend and the changes to the model. A replay has the name of the
    server that it would ask.
    """
    if endpoint.backend == "embedded":
        return "embedded"
    if isinstance(endpoint, Student) and endpoint.runs_in_worker:
        return "/".join([endpoint.backend, *_changes(endpoint)])
    if is_official(endpoint.base_url):
        return "openai"
    url = urlsplit(endpoint.base_url or "")
    return url.netloc.lower() + url.path.rstrip("/")


def limit_name(endpoint: Teacher | Student) -> str:
    """Return the name under which limits are shared: those of one model and one key.

    A recording does not share the limits of its provider.
    """
    whose = endpoint.recording if endpoint.backend == "replay" else provider(endpoint)
    return f"{whose}/{endpoint.model_name}/{endpoint.api_key_env}"


def _changes(student: Student) -> list[str]:
    dtype = student.engine.dtype
    changes = [student.quantization, None if dtype == "auto" else dtype, student.engine.tokenizer]
    return [change for change in changes if change]
