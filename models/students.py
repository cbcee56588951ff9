"""Students: the models under test, and how a worker runs one itself."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from models.endpoints import EMBEDDED_MODEL, TIMEOUT, Count, Endpoint, Name, Section, without_secret
from models.tokens import answer_limit

PromptFormat = Literal["raw", "chatml", "alpaca", "chat"]
LOCAL = ("vllm", "transformers")


class Engine(Section):
    """How a worker opens the model of backend `vllm` or `transformers`.

    `tokenizer` names another folder or model than the weights. `max_num_seqs` is how many prompts are
    answered at once. `gpu_memory_utilization` is the share of a GPU's memory (without one, of the
    machine's) that vLLM takes for weights and cache.
    """

    tokenizer: str = ""
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    tensor_parallel_size: Count = 1
    max_num_seqs: Count = 256
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    enforce_eager: bool = False
    trust_remote_code: bool = False


class Student(Endpoint):
    """`server` is any server of the OpenAI protocol, `replicas` further addresses of the same; `vllm` and
    `transformers` run the model in the worker. `model` is then a folder or a name that the hub knows.
    `replay` answers from a recording.

    `max_model_len` is the most tokens of a prompt and its answer together.
    """

    name: Name = "student"
    backend: Literal["server", "embedded", "vllm", "transformers", "replay"]
    prompt_format: PromptFormat = "raw"
    max_model_len: Count | None = None
    quantization: str | None = None
    replicas: list[Annotated[str, AfterValidator(without_secret)]] = Field([])
    engine: Engine = Engine()

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.backend == "server" and not (self.model and self.base_url):
            raise ValueError("backend server needs a model and a base_url")
        self._require_recording(self.backend)
        if self.backend == "replay":
            # It stands for a student of another backend, whose other settings stay as they were.
            return self
        if self.runs_in_worker and not self.model:
            raise ValueError(f"backend {self.backend} needs a model: a folder, or a name that the hub knows")
        if self.runs_in_worker and self.base_url:
            raise ValueError(
                f"backend {self.backend} runs in the worker and has no base_url; take backend server"
            )
        # Whoever waits here for an answer waits for this machine's own work, not for a connection.
        if self.runs_in_worker and self.timeout != TIMEOUT:
            raise ValueError(
                f"backend {self.backend} runs in the worker and knows no timeout; leave it out, and bound an "
                "answer by params.max_tokens"
            )
        if self.replicas and self.backend != "server":
            raise ValueError("replicas belong to backend server")
        if not self.runs_in_worker and (self.quantization or self.engine != Engine()):
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
