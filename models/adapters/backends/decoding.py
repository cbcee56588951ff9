"""Draw the next token of each row of a batch, and stop the rows that have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.adapters.backends.sampling_params import Sampling

if TYPE_CHECKING:
    from torch import Tensor

# A token may hold less than a character: bytes of one that takes four.
TOKENS_PER_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class SequenceState:
    """A prompt as token ids and its sampling parameters; `sampling.max_tokens` is set."""

    prompt: tuple[int, ...]
    sampling: Sampling


def logits_processors(rows: Sequence[SequenceState], width: int) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Return the steps that change scores [rows, vocabulary] so that the highest is the token drawn.

    The rows have equal sampling parameters, except for their seeds. `width` is the length of the longest
    prompt; the others are padded on the left. A row with a seed draws the same tokens in every batch.
    """
    import torch
    from transformers.generation import logits_process as steps

    sampling = rows[0].sampling
    chain: list[Any] = [lambda _, scores: scores.float()]
    if sampling.repetition_penalty != 1.0:
        chain.append(_RepetitionPenalty(rows, width, sampling.repetition_penalty))
    if sampling.temperature == 0.0:
        return chain
    chain.append(steps.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        chain.append(steps.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        chain.append(steps.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        chain.append(steps.MinPLogitsWarper(sampling.min_p))
    generators = [torch.Generator() for _ in rows]
    for row, generator in zip(rows, generators, strict=True):
        if row.sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(row.sampling.seed)

    def draw(_: Tensor, scores: Tensor) -> Tensor:
        # The highest of scores plus Gumbel noise is a draw from their softmax.
        exponentials = torch.stack([
            torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in generators
        ])  # fmt: skip
        return scores - exponentials.clamp_min(1e-30).log().to(scores.device)

    return [*chain, draw]


class _RepetitionPenalty:
    """The penalty of Keskar et al. (2019) for tokens of prompt and answer, without the padding."""

    def __init__(self, rows: Sequence[SequenceState], width: int, penalty: float) -> None:
        self._starts = [width - len(row.prompt) for row in rows]
        self._penalty = penalty

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        import torch

        for row, start in enumerate(self._starts):
            seen = torch.unique(tokens[row, start:])
            old = scores[row, seen]
            scores[row, seen] = torch.where(old < 0, old * self._penalty, old / self._penalty)
        return scores


class StopTracker:
    """The stopping criterion of a batch; it keeps each row's answer and finish reason.

    `decode` turns the token ids of a row's answer into text. `ends` are tokens that end any answer, and
    `stop_tokens` those that are a stop sequence by themselves. When `cancelled` is set, all rows end.
    """

    def __init__(
        self, rows: Sequence[SequenceState], ends: set[int], stop_tokens: dict[str, int],
        decode: Callable[[SequenceState, list[int]], str],
    ) -> None:  # fmt: skip
        self.answers: list[list[int]] = [[] for _ in rows]
        self.reasons: list[str] = ["" for _ in rows]
        self.cancelled = False
        self._rows, self._decode = rows, decode
        self._ends = [ends | {stop_tokens[s] for s in row.sampling.stop if s in stop_tokens} for row in rows]
        self._tails = [_tail_length(row.sampling.stop) for row in rows]

    def __call__(self, tokens: Tensor, _: Tensor, **__: Any) -> Tensor:
        import torch

        for number, token in enumerate(tokens[:, -1].tolist()):
            if not self.reasons[number]:
                self.answers[number].append(token)
                self.reasons[number] = self._reason(number, token)
        ended = [bool(reason) or self.cancelled for reason in self.reasons]
        return torch.tensor(ended, dtype=torch.bool, device=tokens.device)

    def _reason(self, number: int, token: int) -> str:
        row, answer = self._rows[number], self.answers[number]
        if token in self._ends[number] or self._stops(number):
            return "stop"
        return "length" if len(answer) >= (row.sampling.max_tokens or 0) else ""

    def _stops(self, number: int) -> bool:
        row, answer, tail = self._rows[number], self.answers[number], self._tails[number]
        if not tail or first_stop(self._decode(row, answer[-tail:]), row.sampling.stop) is None:
            return False
        return first_stop(self._decode(row, answer), row.sampling.stop) is not None


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Return the index at which the first stop sequence begins."""
    return min((index for stop in stops if (index := text.find(stop)) >= 0), default=None)


def _tail_length(stops: Sequence[str]) -> int:
    """Return how many of the last tokens can hold a stop sequence that has just ended."""
    longest = max(map(len, stops), default=0)
    return TOKENS_PER_CHARACTER * longest + TOKENS_PER_CHARACTER if longest else 0
