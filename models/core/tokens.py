"""Estimates of the tokens of a call, learned from the usage that servers report.

No tokenizer is loaded: limits and budgets only need an estimate that is right on average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.core.types import Completion, Request, Usage

# Typical of English and code in current tokenizers; each answer corrects it.
TOKENS_PER_BYTE = 0.27
TOKENS_PER_MESSAGE = 4
COMPLETION_TOKENS = 256.0
LEARNING_RATE = 0.05
LIMIT_PARAMS = ("max_completion_tokens", "max_tokens")


class TokenEstimate:
    """Moving averages of one model: tokens per UTF-8 byte of a prompt, and tokens of an answer."""

    def __init__(self) -> None:
        self._per_byte = TOKENS_PER_BYTE
        self._completion = COMPLETION_TOKENS

    def usage(self, request: Request) -> Usage:
        """Estimate the usage. The whole limit of an answer counts if one is set, since servers reserve it."""
        prompt = _bytes(request) * self._per_byte + _overhead(request)
        limit = answer_limit(request.params)
        return Usage(prompt=round(prompt), completion=round(self._completion) if limit is None else limit)

    def charged(self, request: Request, completion: Completion) -> Completion:
        """Return the completion with the tokens that its server did not tell, as estimated before the call.

        Without a limit, an answer counts at least what its text may take.
        """
        reported = completion.usage
        if not reported.estimated:
            return completion
        likely = self.usage(request)
        written = _size(completion.text) + _size(completion.reasoning)
        limit = answer_limit(request.params)
        most = likely.completion if limit is not None else max(likely.completion, written // 2)
        usage = replace(
            reported, prompt=reported.prompt or likely.prompt, completion=reported.completion or most
        )
        return replace(completion, usage=usage)

    def learn(self, request: Request, used: Usage) -> None:
        if used.estimated:
            return
        if size := _bytes(request):
            per_byte = max(0, used.prompt - _overhead(request)) / size
            self._per_byte += LEARNING_RATE * (per_byte - self._per_byte)
        self._completion += LEARNING_RATE * (used.completion - self._completion)


def answer_limit(params: Mapping[str, Any]) -> int | None:
    """Return the largest number of tokens of an answer; None if no parameter limits it."""
    return next((params[name] for name in LIMIT_PARAMS if isinstance(params.get(name), int)), None)


def _overhead(request: Request) -> int:
    return TOKENS_PER_MESSAGE * len(request.messages)


def _bytes(request: Request) -> int:
    if request.prompt is not None:
        return _size(request.prompt)
    return sum(_size(message.content) for message in request.messages)


def _size(text: str | None) -> int:
    return len((text or "").encode("utf-8", "surrogatepass"))
