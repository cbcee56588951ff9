"""Models to ask, the teacher, judge and students: their addresses, limits and prices."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from models.core.tokens import answer_limit

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


def require_no_secret(url: str) -> str:
    # A run's configuration is in the ledger.
    if "@" in urlsplit(url).netloc:
        raise ValueError("holds a user or a password; put the key into the variable of api_key_env")
    return url


Params = Annotated[dict[str, Any], AfterValidator(_sent_as_json)]


class StrictModel(BaseModel):
    """A mapping of the experiment file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Price(StrictModel):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0)] = 0.0
    cached_input: Annotated[float, Field(ge=0)] | None = None
    output: Annotated[float, Field(ge=0)] = 0.0

    @property
    def is_free(self) -> bool:
        return not (self.input or self.cached_input or self.output)


EMBEDDED_MODEL = "smollm2-135m-instruct"
TIMEOUT = 120.0  # seconds


class Endpoint(StrictModel):
    """A model that is asked.

    `embedded` is the small model of the extra `embedded`. `rpm`, `tpm` (requests and tokens per minute) and
    `max_concurrency` (calls in flight) limit all workers together; without `rpm` and `tpm` the limits are
    learned from the server's answers. `timeout` is in seconds.

    `replay` asks nobody: `recording` is a file of recorded answers that all workers can read.
    `recording_sha256` is its hash, filled in when a run is planned.
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
        return require_no_secret(url) if url else url

    def _require_recording(self, backend: str) -> None:
        """Raise ValueError if a replay lacks its recording or model, or another backend has a recording."""
        if backend == "replay" and not (self.recording and self.model):
            raise ValueError("backend replay needs a recording, and the model whose answers were recorded")
        if backend != "replay" and (self.recording or self.recording_sha256):
            raise ValueError("a recording belongs to backend replay")


class Teacher(Endpoint):
    """The model that writes data. `direct` asks call by call; `batch` sends files of calls to the provider's
    Batch API and waits up to a day for each, at half the price."""

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
    """A model that judges answers."""

    name: Name = "judge"
    delivery: Literal["direct"] = "direct"


PromptFormat = Literal["raw", "chatml", "alpaca", "chat"]
LOCAL = ("vllm", "transformers")


class EngineSettings(StrictModel):
    """Options with which a worker opens the model of backend `vllm` or `transformers`.

    `tokenizer` names its folder or model if that is not the model's own. `max_num_seqs` is the number of
    prompts answered at once. `gpu_memory_utilization` is the share of a GPU's memory (without a GPU, of the
    machine's) that vLLM uses for weights and cache.
    """

    tokenizer: str = ""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    tensor_parallel_size: Count = 1
    max_num_seqs: Count = 256
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    enforce_eager: bool = False
    trust_remote_code: bool = False


class Student(Endpoint):
    """A model under test.

    `server` is any server of the OpenAI protocol, `replicas` are more addresses of the same model. `vllm` and
    `transformers` run the model in the worker; `model` is then a folder or a name on the hub. `replay`
    answers from a recording. `max_model_len` is the largest number of tokens of a prompt and its answer
    together.
    """

    name: Name = "student"
    backend: Literal["server", "embedded", "vllm", "transformers", "replay"]
    prompt_format: PromptFormat = "raw"
    max_model_len: Count | None = None
    quantization: str | None = None
    replicas: list[Annotated[str, AfterValidator(require_no_secret)]] = Field([])
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.backend == "server" and not (self.model and self.base_url):
            raise ValueError("backend server needs a model and a base_url")
        self._require_recording(self.backend)
        if self.backend == "replay":
            # It replaces a student of another backend and keeps the settings of that one.
            return self
        if self.runs_in_worker and not self.model:
            raise ValueError(f"backend {self.backend} needs a model: a folder, or a name that the hub knows")
        if self.runs_in_worker and self.base_url:
            raise ValueError(
                f"backend {self.backend} runs in the worker and has no base_url; take backend server"
            )
        # An answer here takes the time of this machine's own work, not that of a connection.
        if self.runs_in_worker and self.timeout != TIMEOUT:
            raise ValueError(
                f"backend {self.backend} runs in the worker and knows no timeout; leave it out, and bound an "
                "answer by params.max_tokens"
            )
        if self.replicas and self.backend != "server":
            raise ValueError("replicas belong to backend server")
        if not self.runs_in_worker and (self.quantization or self.engine != EngineSettings()):
            raise ValueError(f"engine and quantization belong to the backends {' and '.join(LOCAL)}")
        return self

    @model_validator(mode="after")
    def _leaves_room_for_a_prompt(self) -> Self:
        limit = answer_limit(self.params)
        if self.max_model_len and limit and limit >= self.max_model_len:
            raise ValueError(
                f"max_model_len {self.max_model_len} holds prompt and answer; params allow an answer of "
                f"{limit} tokens, which leaves no room"
            )
        return self

    @property
    def runs_in_worker(self) -> bool:
        return self.backend in LOCAL

    @property
    def model_name(self) -> str:
        return EMBEDDED_MODEL if self.backend == "embedded" else self.model
