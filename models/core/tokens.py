"""How many tokens a call will use, guessed before it and learned from what servers count.

No tokenizer is loaded: limits and budgets need a guess that is right on average, and usage corrects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.core.types import Request, Usage

# English and code in the tokenizers of today; corrected from the first answer on.
TOKENS_PER_BYTE = 0.27
TOKENS_PER_MESSAGE = 4
COMPLETION_TOKENS = 256.0
LEARNING_RATE = 0.05
LIMITS = ("max_completion_tokens", "max_tokens")


class TokenEstimate:
    """Of one model. Tokens per UTF-8 byte of a prompt and tokens of an answer, as moving averages."""

    def __init__(self) -> None:
        self._per_byte = TOKENS_PER_BYTE
        self._completion = COMPLETION_TOKENS

    def usage(self, request: Request) -> Usage:
        """A server that is told a limit reserves all of it; otherwise answers are as long as usual."""
        prompt = _bytes(request) * self._per_byte + _overhead(request)
        limit = answer_limit(request.params)
        return Usage(prompt=round(prompt), completion=round(self._completion) if limit is None else limit)

    def learn(self, request: Request, used: Usage) -> None:
        if size := _bytes(request):
            per_byte = max(0, used.prompt - _overhead(request)) / size
            self._per_byte += LEARNING_RATE * (per_byte - self._per_byte)
        self._completion += LEARNING_RATE * (used.completion - self._completion)


def answer_limit(params: Mapping[str, Any]) -> int | None:
    """The most tokens of an answer; None where no parameter says."""
    return next((params[name] for name in LIMITS if isinstance(params.get(name), int)), None)


def _overhead(request: Request) -> int:
    return TOKENS_PER_MESSAGE * len(request.messages)


def _bytes(request: Request) -> int:
    if request.prompt is not None:
        return len(request.prompt.encode("utf-8", "surrogatepass"))
    return sum(len(said.content.encode("utf-8", "surrogatepass")) for said in request.messages)
