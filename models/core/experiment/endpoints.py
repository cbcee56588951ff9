"""Models to ask, in any role and on any backend: their addresses, limits and prices."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from models.core.experiment.cell_files import CellFiles
from models.core.experiment.headers import Headers, Query
from models.core.experiment.key_hosts import NETWORKED, default_key_variable
from models.core.near_names import did_you_mean
from models.core.tokens import answer_limit

Whole = Annotated[int, Field(strict=True)]
Count = Annotated[Whole, Field(ge=1)]
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
Name = Annotated[str, Field(pattern=NAME.pattern)]
RESERVED_PARAMS = {"model", "messages", "prompt", "stream", "n"}


def _sent_as_json(params: dict[str, Any]) -> dict[str, Any]:
    if reserved := sorted(RESERVED_PARAMS & params.keys()):
        raise ValueError(f"{', '.join(reserved)} cannot be set as a parameter")
    _require_json(params)
    return params


def _require_json(values: Any) -> None:
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("takes texts, finite numbers, true, false, null, lists and mappings only") from None


def require_no_secret(url: str) -> str:
    # A run's configuration is in the ledger.
    if "@" in urlsplit(url).netloc:
        raise ValueError("holds a user or a password; put the key into the variable of api_key_env")
    return url


def slug(text: str) -> str:
    """Return `text` as part of a queue or collection name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "unnamed"


Params = Annotated[dict[str, Any], AfterValidator(_sent_as_json)]


class StrictModel(BaseModel):
    """A mapping of the experiment file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Price(StrictModel):
    """US dollars per million tokens. A run counts these; estimates know published prices, too."""

    input: Annotated[float, Field(ge=0)] = 0.0
    """tokens of prompts"""
    cached_input: Annotated[float, Field(ge=0)] | None = None
    """tokens of prompts that the provider's cache had; left out: as `input`"""
    output: Annotated[float, Field(ge=0)] = 0.0
    """tokens of answers"""

    @property
    def is_free(self) -> bool:
        return not (self.input or self.cached_input or self.output)


EMBEDDED_MODEL = "smollm2-135m-instruct"
TIMEOUT = 120.0  # seconds
LOCAL = ("vllm", "transformers")
PromptFormat = Literal["raw", "chatml", "alpaca", "chat"]
# The ledger's column holds 80 characters.
MAX_SLUG = 72


class EngineSettings(StrictModel):
    """Options of a model in the worker (backend `vllm` or `transformers`). Other keys are arguments of vLLM's
    own engine, which checks them when it opens. During a run you can change sizes, nothing that changes
    answers."""

    model_config = ConfigDict(extra="allow")

    tokenizer: str = ""
    """the tokenizer's folder or name, if not the model's own"""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """the precision; `auto` is as saved, float32 without a GPU"""
    tensor_parallel_size: Count = 1
    """GPUs that share one copy"""
    data_parallel_size: Count = 1
    """copies of the model, each on GPUs of its own"""
    max_num_seqs: Count = 256
    """prompts answered at once by each copy"""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """the share of memory that vLLM uses for weights and cache"""
    enforce_eager: bool = False
    """opens faster and answers slower, without CUDA graphs"""
    trust_remote_code: bool = False
    """runs code that the checkpoint brings"""
    lora: str = ""
    """the folder or name of an adapter; models with one base share one engine, of `max_loras` adapters"""

    @property
    def arguments(self) -> dict[str, Any]:
        """The further arguments of vLLM's engine."""
        return self.model_extra or {}

    @property
    def sequences(self) -> int:
        """The number of prompts that a worker answers at once."""
        return self.max_num_seqs * self.data_parallel_size

    @model_validator(mode="after")
    def _arguments_are_data(self) -> Self:
        _require_json(self.arguments)
        for name in ("model", "max_model_len", "quantization"):
            if name in self.arguments:
                raise ValueError(f"{name} stands beside engine, not in it")
        if "hf_token" in self.arguments:
            raise ValueError("hf_token would put a secret into the ledger; set HF_TOKEN where workers run")
        return self


class Model(StrictModel):
    """A model that is asked, in any role: an entry of `models`, `teacher`, one of `students`, or
    `judge.model`."""

    name: Name = "model"
    """the name in tables; an entry of `models` has that of its key"""
    backend: Literal["openai", "server", "embedded", "vllm", "transformers", "replay"]
    """`openai`: OpenAI, or its protocol at `base_url`; `server`: a server at `base_url`; `embedded`: the
    packaged model; `vllm`, `transformers`: in the worker; `replay`: a recording"""
    model: str = ""
    """the model's name; in the worker a folder, or a name that the hub knows"""
    base_url: str | None = None
    """the address of a server, without user and password"""
    replicas: list[Annotated[str, AfterValidator(require_no_secret)]] = Field([])
    """more addresses of the same model; they may change during a run"""
    api_key_env: str = Field(default_factory=default_key_variable)
    """the variable with the key; left out: `OPENAI_API_KEY` for OpenAI, no key for others"""
    headers: Headers = Field({})
    """headers of every call; `${VARIABLE}` is read where workers run"""
    query: Query = Field({})
    """parameters of the URL, likewise"""
    params: Params = {}
    """parameters of every call, such as `temperature`"""
    prompt_format: PromptFormat = "chat"
    """how a text is put: `raw` as it is; `chatml` as a turn after MPT-Chat's system message; `alpaca` in
    Stanford's template; `chat` as a message. Students take `raw` unless set"""
    max_model_len: Count | None = None
    """most tokens of prompt and answer together; what is too long loses documentation, then examples"""
    rpm: Count | None = None
    """requests a minute of all workers; left out: learned from the server"""
    tpm: Count | None = None
    """tokens a minute of all workers; left out: learned from the server"""
    max_concurrency: Count = 64
    """calls in flight of all workers"""
    timeout: Annotated[float, Field(gt=0)] = TIMEOUT
    """seconds until a call counts as unanswered; refused for a model in the worker"""
    price: Price = Price()
    """what tokens cost"""
    delivery: Literal["direct", "batch"] = "direct"
    """`batch` uses the provider's Batch API: half the price, up to a day; the teacher's alone"""
    quantization: str | None = None
    """the quantization, as vLLM names it"""
    engine: EngineSettings = EngineSettings()
    """how a worker opens the model"""
    recording: str | CellFiles | None = None
    """recorded answers for `replay`: a file, or of a student one for each cell"""
    recording_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        return require_no_secret(url) if url else url

    @model_validator(mode="after")
    def _has_what_its_backend_needs(self) -> Self:
        if self.backend == "openai" and not self.model:
            raise ValueError("backend openai needs a model")
        if self.backend == "server" and not (self.model and self.base_url):
            raise ValueError("backend server needs a model and a base_url")
        if self.backend == "replay" and not (self.recording and self.model):
            raise ValueError("backend replay needs a recording, and the model whose answers were recorded")
        if self.runs_in_worker and not self.model:
            raise ValueError(f"backend {self.backend} needs a model: a folder, or a name that the hub knows")
        return self

    @model_validator(mode="after")
    def _has_nothing_of_another_backend(self) -> Self:
        if self.backend != "replay" and (self.recording or self.recording_sha256):
            raise ValueError("a recording belongs to backend replay")
        if self.delivery == "batch" and self.backend != "openai":
            raise ValueError("delivery batch needs backend openai")
        if self.backend == "replay":
            # It replaces a model of another backend and keeps the settings of that one.
            return self
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
        if (self.headers or self.query) and self.backend not in NETWORKED:
            raise ValueError(f"headers and query belong to the backends {' and '.join(NETWORKED)}")
        if self.replicas and self.backend != "server":
            raise ValueError("replicas belong to backend server")
        if not self.runs_in_worker and (self.quantization or self.engine != EngineSettings()):
            raise ValueError(f"engine and quantization belong to the backends {' and '.join(LOCAL)}")
        if self.backend == "transformers":
            self._require_no_setting_of_vllm()
        return self

    def _require_no_setting_of_vllm(self) -> None:
        if self.engine.lora or self.engine.data_parallel_size > 1:
            raise ValueError("lora and data_parallel_size need backend vllm")
        for name in self.engine.arguments:
            remedy = did_you_mean(name, EngineSettings.model_fields, "take backend vllm")
            raise ValueError(f"backend transformers has no engine.{name}; {remedy}")

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
    def replays_cells(self) -> bool:
        """True if answers are found by their cell, whatever the prompt."""
        return isinstance(self.recording, CellFiles)

    @property
    def runs_in_worker(self) -> bool:
        return self.backend in LOCAL

    @property
    def model_name(self) -> str:
        return EMBEDDED_MODEL if self.backend == "embedded" else self.model

    @property
    def queue(self) -> str:
        """The queue of the units that ask this model."""
        name = slug(self.model_name)
        if len(name) > MAX_SLUG:
            # The end of a path tells more than its beginning.
            name = f"{hashlib.sha256(name.encode()).hexdigest()[:8]}-{name[9 - MAX_SLUG :].lstrip('-')}"
        return f"model.{name}"


class Teacher(Model):
    """The model that writes data."""

    name: Name = "teacher"


class NamedModel(Model):
    """A model that steps ask by its name."""

    delivery: Literal["direct"] = "direct"


class JudgeModel(NamedModel):
    """A model that judges answers."""

    name: Name = "judge"


class Student(NamedModel):
    """A model under test."""

    name: Name = "student"
    prompt_format: PromptFormat = "raw"


def queue_of(*asked: Model) -> str:
    """Return the queue of units that ask all of these models: that of the first which runs in a worker,
    because any worker reaches the others."""
    return next((each for each in asked if each.runs_in_worker), asked[0]).queue
