"""Model backends behind one interface; `open_backend` chooses by the experiment's `backend`.

A backend is imported when it is opened: most processes only need the names of models.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models.adapters.backends.access import KEY_HEADERS
from models.adapters.backends.backend import Backend, LocalBackend
from models.core.errors import ServiceError
from models.core.experiment.endpoints import Model
from models.core.experiment.identity_keys import MUTABLE_ENGINE
from models.core.experiment.key_hosts import ANY_HOST, KeyHosts, is_official

if TYPE_CHECKING:
    from models.adapters.backends.gateway_client import GatewayClient

# The embedded server answers this many calls at once; more would wait there while their timeout runs.
EMBEDDED_SLOTS = 4


def open_backend(
    endpoint: Model,
    embedded_url: str | None,
    gateway: GatewayClient | None = None,
    key_hosts: KeyHosts = ANY_HOST,
) -> Backend:
    """Open the backend of `endpoint`. The embedded model is asked without the gateway: its answers are free.

    Raises AccessError if a needed key is missing or may not be sent to its host, ServiceError if the embedded
    server is not running.
    """
    if endpoint.runs_in_worker:
        return open_local_backend(endpoint)
    from models.adapters.backends.openai import OpenAIBackend
    from models.adapters.backends.replicas import Replicas

    if endpoint.replicas:
        return Replicas(endpoint, gateway, key_hosts)
    if endpoint.backend != "embedded":
        return OpenAIBackend(endpoint, endpoint.base_url, gateway, key_hosts)
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


def open_local_backend(model: Model) -> LocalBackend:
    """Return a model that this process runs itself; the first call opens it.

    Raises AccessError for settings that the backend does not have.
    """
    if model.backend == "vllm":
        from models.adapters.backends.vllm import VLLMBackend

        return VLLMBackend(model)
    from models.adapters.backends.transformers_backend import TransformersBackend

    return TransformersBackend(model)


def with_adapter(backend: LocalBackend, model: Model) -> LocalBackend:
    """Return the model's own adapter on an opened backend that models share."""
    if not model.engine.lora:
        return backend
    from models.adapters.backends.vllm import LoraAdapter, VLLMBackend

    return LoraAdapter(backend, model.engine.lora) if isinstance(backend, VLLMBackend) else backend


def model_identity(endpoint: Model) -> str:
    return f"{provider(endpoint)}/{endpoint.model_name}"


def engine_identity(model: Model) -> str:
    """Return the identity of the engine that runs the model: adapters of one model share it."""
    return model_identity(model.model_copy(update={"engine": model.engine.model_copy(update={"lora": ""})}))


def provider(endpoint: Model) -> str:
    """Return the provider's name in a request's key: `openai`, `embedded`, `host:port/path`.

    For a model in the worker it is the backend and the changes to the model. A replay has the name of the
    server that it would ask.
    """
    if endpoint.backend == "embedded":
        return "embedded"
    if endpoint.runs_in_worker:
        return "/".join([endpoint.backend, *_changes(endpoint)])
    if is_official(endpoint.base_url):
        return "openai"
    url = urlsplit(endpoint.base_url or "")
    return url.netloc.lower() + url.path.rstrip("/")


def limit_name(endpoint: Model) -> str:
    """Return the name under which limits are shared: those of one model and one key.

    A recording does not share the limits of its provider.
    """
    recording = endpoint.recording_sha256 if endpoint.replays_cells else endpoint.recording
    whose = str(recording) if endpoint.backend == "replay" else provider(endpoint)
    keys = [text for name, text in sorted(endpoint.headers.items()) if name.lower() in KEY_HEADERS]
    return "/".join(filter(None, [whose or "", endpoint.model_name, *(keys or [endpoint.api_key_env])]))


def _changes(model: Model) -> list[str]:
    engine = model.engine
    arguments = {name: value for name, value in engine.arguments.items() if name not in MUTABLE_ENGINE}
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:12]
    dtype = "" if engine.dtype == "auto" else engine.dtype
    changes = [model.quantization, dtype, engine.tokenizer, engine.lora, digest if arguments else ""]
    return [change for change in changes if change]
