"""Models to ask: where they are, what limits them, what they cost."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

Whole = Annotated[int, Field(strict=True)]
Count = Annotated[Whole, Field(ge=1)]
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
Name = Annotated[str, Field(pattern=NAME.pattern)]

RESERVED_PARAMS = {"model", "messages", "prompt", "stream", "n"}


def _sent_as_json(params: dict[str, Any]) -> dict[str, Any]:
    if reserved := sorted(RESERVED_PARAMS & params.keys()):
        raise ValueError(f"{', '.join(reserved)} cannot be set as a parameter")
    try:
        json.dumps(params, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("takes texts, finite numbers, true, false, null, lists and mappings only") from None
    return params


def without_secret(url: str) -> str:
    # A run's configuration stands in the ledger.
    if "@" in urlsplit(url).netloc:
        raise ValueError("holds a user or a password; put the key into the variable of api_key_env")
    return url


Params = Annotated[dict[str, Any], AfterValidator(_sent_as_json)]


class Section(BaseModel):
    """A mapping of the experiment file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Price(Section):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0)] = 0.0
    cached_input: Annotated[float, Field(ge=0)] | None = None
    output: Annotated[float, Field(ge=0)] = 0.0

    @property
    def is_free(self) -> bool:
        return not (self.input or self.cached_input or self.output)


EMBEDDED_MODEL = "smollm2-135m-instruct"
TIMEOUT = 120.0  # seconds


class Endpoint(Section):
    """A model that is asked.

    `embedded` is the small model that ships with the `embedded` extra. `rpm`, `tpm` (requests and tokens
    a minute) and `max_concurrency` (calls in flight) bound all workers together; without `rpm` and `tpm`
    the limits are learned from what the server says. `timeout` is in seconds.

    `replay` asks nobody: `recording` is a file of recorded answers, seen by all workers. `recording_sha256`
    is what the file has to be; it is filled in when a run is planned.
    """

    model: str = ""
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    params: Params = {}
    rpm: Count | None = None
    tpm: Count | None = None
    max_concurrency: Count = 64
    timeout: Annotated[float, Field(gt=0)] = TIMEOUT
    price: Price = Price()
    recording: str | None = None
    recording_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        return without_secret(url) if url else url

    def _require_recording(self, backend: str) -> None:
        """Raises ValueError where a replay lacks what it needs, or another backend has a recording."""
        if backend == "replay" and not (self.recording and self.model):
            raise ValueError("backend replay needs a recording, and the model whose answers were recorded")
        if backend != "replay" and (self.recording or self.recording_sha256):
            raise ValueError("a recording belongs to backend replay")


class Teacher(Endpoint):
    """`direct` asks call by call; `batch` hands files of calls to the provider's Batch API and waits up to
    a day for each, at half the price."""

    name: Name = "teacher"
    backend: Literal["openai", "embedded", "replay"]
    delivery: Literal["direct", "batch"] = "direct"

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.backend == "openai" and not self.model:
            raise ValueError("backend openai needs a model")
        if self.delivery == "batch" and self.backend != "openai":
            raise ValueError("delivery batch needs backend openai")
        self._require_recording(self.backend)
        return self

    @property
    def model_name(self) -> str:
        return EMBEDDED_MODEL if self.backend == "embedded" else self.model


class JudgeModel(Teacher):
    """A model that says whether an answer is right."""

    name: Name = "judge"
    delivery: Literal["direct"] = "direct"
