"""The values that pass between stages, models and the ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """One model call, complete enough to be repeated and to be recognised.

    `messages` asks a chat endpoint; `prompt` asks a completion endpoint; exactly one is set.
    `draw` separates calls that ask the same words on purpose: the sample number, and the number
    of the attempt after a rejected answer.
    """

    provider: str
    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    draw: tuple[int, int] = (0, 0)

    def body(self) -> JSON:
        """The request as JSON, as it is stored beside its answer."""
        asked: JSON = {"model": self.model, "params": dict(self.params), "draw": list(self.draw)}
        if self.prompt is not None:
            asked["prompt"] = self.prompt
        else:
            asked["messages"] = [{"role": said.role, "content": said.content} for said in self.messages]
        return {"provider": self.provider, **asked}

    @classmethod
    def from_body(cls, body: JSON) -> Request:
        """The request whose `body()` this is."""
        messages = tuple(Message(**message) for message in body.get("messages", ()))
        sample, attempt = body["draw"]
        return cls(
            body["provider"], body["model"], messages, body.get("prompt"), body["params"], (sample, attempt)
        )

    @cached_property
    def key(self) -> str:
        """SHA-256 of the request, hexadecimal: the same question is bought once, in any run."""
        text = json.dumps(self.body(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached` of the `prompt` tokens were served from the provider's cache."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests and tokens a minute, as a server tells them; None where it does not."""

    rpm: int | None = None
    tpm: int | None = None


# The finish reason of a body that was no completion, such as a page of HTML.
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered. `text` is None where the provider sent `content: null`; where the finish
    reason is MALFORMED it is the body as it came."""

    text: str | None
    finish_reason: str
    usage: Usage
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One documented function: identifier, name, signature and first paragraph."""

    id: str
    name: str
    signature: str
    text: str
    library: str = ""

    @property
    def key(self) -> str:
        """SHA-256 of the content: an unchanged passage keeps its key when the corpus changes."""
        parts = (self.id, self.name, self.signature, self.text, self.library)
        return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Query:
    """What documentation is wanted for. Solved examples of the same question, as its `question_id` tells, are
    no help: they would give the answer away."""

    request: str
    augmentation: str = ""
    question_id: str = ""
    oracle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found. `score` ranks it; `scores` are its parts by name; `dense` is the inner
    product of unit vectors."""

    passage: Passage
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerTests:
    """Tests of an answer by execution: `code` that asserts, or defines `check`, which is called with the
    function named `entry_point`. An answer may be the body of a function that `prefix` opens and `suffix`
    ends."""

    code: str
    entry_point: str = ""
    prefix: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A request and its reference answer; `row` is its position in the split."""

    row: int
    question_id: str
    request: str
    reference: str
    oracle: tuple[str, ...] = ()
    tests: AnswerTests | None = None


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A worked example shown to a model in context. `rationale` is empty where none is shown."""

    request: str
    answer: str
    rationale: str = ""
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an answer is not accepted; `reason` is one of `models.core.answers.REASONS`."""

    reason: str
    detail: str = ""
