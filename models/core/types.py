"""Values that stages, models and the ledger exchange."""

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
    """One model call, complete enough to be repeated and recognised.

    Exactly one is set: `messages` for a chat endpoint, `prompt` for a completion endpoint. `draw` separates
    calls that ask the same words on purpose: the sample number and the number of the attempt.
    """

    provider: str
    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    draw: tuple[int, int] = (0, 0)

    def body(self) -> JSON:
        """Return the request as JSON, as it is stored beside its answer."""
        body: JSON = {"provider": self.provider, "model": self.model}
        body |= {"params": dict(self.params), "draw": list(self.draw)}
        if self.prompt is not None:
            return body | {"prompt": self.prompt}
        messages = [{"role": message.role, "content": message.content} for message in self.messages]
        return body | {"messages": messages}

    @classmethod
    def from_body(cls, body: JSON) -> Request:
        """Return the request that `body()` made this of."""
        messages = tuple(Message(**message) for message in body.get("messages", ()))
        sample, attempt = body["draw"]
        return cls(
            body["provider"], body["model"], messages, body.get("prompt"), body["params"], (sample, attempt)
        )

    @cached_property
    def key(self) -> str:
        """The SHA-256 of the request, hexadecimal. Equal requests are bought once, in all runs together."""
        text = json.dumps(self.body(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached` of the `prompt` tokens came from the provider's cache, and the model spent
    `reasoning` of the `completion` tokens on thinking. `estimated`: the server did not tell all of them."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests and tokens per minute that a server allows; None if it does not say."""

    rpm: int | None = None
    tpm: int | None = None


# The finish reason of a body that was no completion, such as a page of HTML.
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of a model. `text` is None if the provider sent `content: null`. If the finish reason is
    MALFORMED, it is the raw body. `reasoning` is what the model thought aloud; it is no part of the answer.
    `served` is how the server named the model that answered, with the fingerprint of its system.
    """

    text: str | None
    finish_reason: str
    usage: Usage
    refusal: str | None = None
    reasoning: str | None = None
    served: str | None = field(default=None, compare=False)


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
        """The SHA-256 of the content. An unchanged passage keeps its key when the corpus changes."""
        parts = (self.id, self.name, self.signature, self.text, self.library)
        return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Query:
    """A request for which documentation is searched.

    Solved examples with the same `question_id` are not used: they would give the answer away.
    """

    request: str
    augmentation: str = ""
    question_id: str = ""
    oracle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found. `score` ranks it; `scores` has its parts by name."""

    passage: Passage
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerTests:
    """Tests that execute an answer.

    `code` asserts, or defines `check`, which is called with the function `entry_point`. The answer may be the
    body of a function that `prefix` begins and `suffix` ends.
    """

    code: str
    entry_point: str = ""
    prefix: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A row: its `columns` as read, and the request, reference answer and so on that some of them hold.

    `row` is its position in the split, and its id if the dataset gives none (`has_id`). `columns` has JSON
    values. It is empty where rows come from the section `dataset`, and no step or template names a column.
    """

    row: int
    question_id: str
    request: str
    reference: str
    oracle: tuple[str, ...] = ()
    tests: AnswerTests | None = None
    has_id: bool = True
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A worked example in a prompt. `rationale` is empty if none is shown; `columns` are those of its row."""

    request: str
    answer: str
    rationale: str = ""
    passages: tuple[Passage, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An answer that is not accepted. `reason` is one of `models.core.answers.checks.REASONS`."""

    reason: str
    detail: str = ""
