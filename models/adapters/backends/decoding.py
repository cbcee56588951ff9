"""What happens at each token of a batch: which is drawn, and which rows have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.adapters.backends.in_process import Sampling

if TYPE_CHECKING:
    from torch import Tensor

# A token may hold less than a character: bytes of one that takes four.
TOKENS_PER_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class SequenceState:
    """One prompt as token ids, and how it is answered; `sampling.max_tokens` is set."""

    prompt: tuple[int, ...]
    sampling: Sampling


def ways_to_draw(rows: Sequence[SequenceState], width: int) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Steps from scores [rows, vocabulary] to scores whose highest is the token drawn.

    The rows sample alike but for their seeds. `width` is the length of the longest prompt; the others
    are padded on the left. A row with a seed draws the same tokens in any company.
    """
    import torch
    from transformers.generation import logits_process as steps

    how = rows[0].sampling
    chain: list[Any] = [lambda _, scores: scores.float()]
    if how.repetition_penalty != 1.0:
        chain.append(_Repetition(rows, width, how.repetition_penalty))
    if how.temperature == 0.0:
        return chain
    chain.append(steps.TemperatureLogitsWarper(how.temperature))
    if how.top_k:
        chain.append(steps.TopKLogitsWarper(how.top_k))
    if how.top_p < 1.0:
        chain.append(steps.TopPLogitsWarper(how.top_p))
    if how.min_p > 0.0:
        chain.append(steps.MinPLogitsWarper(how.min_p))
    generators = [torch.Generator() for _ in rows]
    for row, generator in zip(rows, generators, strict=True):
        if row.sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(row.sampling.seed)

    def draw(_: Tensor, scores: Tensor) -> Tensor:
        # The highest of scores plus Gumbel noise is a draw from their softmax.
        waits = torch.stack([
            torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in generators
        ])  # fmt: skip
        return scores - waits.clamp_min(1e-30).log().to(scores.device)

    return [*chain, draw]


class _Repetition:
    """The penalty of Keskar et al. (2019) for tokens of prompt and answer, padding left out."""

    def __init__(self, rows: Sequence[SequenceState], width: int, penalty: float) -> None:
        self._starts = [width - len(row.prompt) for row in rows]
        self._penalty = penalty

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        import torch

        for row, start in enumerate(self._starts):
            seen = torch.unique(tokens[row, start:])
            there = scores[row, seen]
            scores[row, seen] = torch.where(there < 0, there * self._penalty, there / self._penalty)
        return scores


class Endings:
    """Asked after each token which rows have ended; knows afterwards where and why.

    `decode` turns the token ids of a row's answer into text. `ends` are tokens that end any answer, and
    `stop_tokens` those that are a stop sequence by themselves. After `give_up` all rows end.
    """

    def __init__(
        self, rows: Sequence[SequenceState], ends: set[int], stop_tokens: dict[str, int],
        decode: Callable[[SequenceState, list[int]], str],
    ) -> None:  # fmt: skip
        self.answers: list[list[int]] = [[] for _ in rows]
        self.reasons: list[str] = ["" for _ in rows]
        self.gave_up = False
        self._rows, self._decode = rows, decode
        self._ends = [ends | {stop_tokens[s] for s in row.sampling.stop if s in stop_tokens} for row in rows]
        self._tails = [_tail(row.sampling.stop) for row in rows]

    def give_up(self) -> None:
        self.gave_up = True

    def __call__(self, tokens: Tensor, _: Tensor, **__: Any) -> Tensor:
        import torch

        for number, token in enumerate(tokens[:, -1].tolist()):
            if not self.reasons[number]:
                self.answers[number].append(token)
                self.reasons[number] = self._reason(number, token)
        ended = [bool(reason) or self.gave_up for reason in self.reasons]
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
    """Where the first stop sequence begins."""
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)


def _tail(stops: Sequence[str]) -> int:
    """So many of the last tokens hold a stop sequence that ends with the last of them."""
    longest = max(map(len, stops), default=0)
    return TOKENS_PER_CHARACTER * longest + TOKENS_PER_CHARACTER if longest else 0
