"""What the synthetic set consists of, and what it took to make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from models.stages import train_wording
from producer.synthetic import SyntheticExample, pass_number, synthetic_examples
from storage.database import Database
from storage.ledger import counts
from storage.ledger.counts import Funnel
from storage.ledger.planning import Run
from storage.ledger.rows import Row
from storage.schema import TRAIN


@dataclass(frozen=True, slots=True)
class Pass:
    """A rationalization round: how many examples without a right rationale were tried with the answer as a
    hint, and got one."""

    number: int
    tried: int
    correct: int


@dataclass(frozen=True, slots=True)
class Round:
    """A round of STaR: of `rationales`, how many were right at the first pass, and after all passes."""

    number: int
    rationales: int
    first_pass_correct: int
    correct: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of train examples, except for `failed`, `rejected` and what was paid: these are of the whole run.
    Where there are several `rounds`, `rationales`, `first_pass_correct` and `passes` are of the first.

    `still_wrong` examples have a rationale, but none that is right so far. `wrong_form` counts rationales
    that were kept as wrong by what their form lacks. Means are None where there is nothing to count.
    """

    examples: int
    augmented: int
    retrieved: int
    rationales: int
    first_pass_correct: int
    passes: tuple[Pass, ...]
    accepted: int
    still_wrong: int
    hint_leaks: int
    wrong_form: dict[str, int]
    failed: dict[str, int]
    rejected: dict[str, int]
    words_per_augmentation: float | None
    words_per_rationale: float | None
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float
    rounds: tuple[Round, ...] = ()


def read_statistics(db: Database, run: Run, funnel: Funnel) -> Statistics:
    """Counted in one pass over the train examples."""
    tally = _Tally()
    for example in synthetic_examples(db, run):
        tally.add(example)
    seen = tally.seen
    paid = counts.spending(db, run.id)
    passes = range(1, run.experiment.rationale.passes + 1)
    return Statistics(
        examples=funnel.rows.get((TRAIN, "retrieve", train_wording(run.experiment)), Counter()).total(),
        augmented=seen["augmented"],
        retrieved=seen["retrieved"],
        rationales=seen["tried", 1, 0],
        first_pass_correct=seen["correct", 1, 0],
        passes=tuple(Pass(number, seen["tried", 1, number], seen["correct", 1, number]) for number in passes),
        accepted=seen["first_pass"] + seen["star"],
        still_wrong=seen["wrong"],
        hint_leaks=seen["leak"],
        wrong_form=dict(tally.forms.most_common()),
        failed=counts.failure_reasons(db, run.id),
        rejected=counts.rejection_reasons(db, run.id),
        words_per_augmentation=_mean(tally.words["augmentation"], seen["augmented"]),
        words_per_rationale=_mean(tally.words["rationale"], seen["final"]),
        calls=paid.calls,
        prompt_tokens=paid.usage.prompt,
        cached_tokens=paid.usage.cached,
        completion_tokens=paid.usage.completion,
        cost_usd=paid.dollars,
        rounds=tuple(
            Round(number, seen["tried", number, 0], seen["correct", number, 0], seen["right", number, 0])
            for number in range(1, run.experiment.rationale.rounds + 1)
        ),
    )


class _Tally:
    def __init__(self) -> None:
        self.seen: Counter[str | tuple[str, int, int]] = Counter()
        self.forms: Counter[str] = Counter()
        self.words: Counter[str] = Counter()

    def add(self, example: SyntheticExample) -> None:
        if example.augment:
            self.seen["augmented"] += 1
            self.words["augmentation"] += _words(example.augment.result.get("augmentation"))
        self.seen["retrieved"] += example.retrieve is not None
        for number, tried in enumerate(example.rounds, 1):
            self._add_round(number, tried)
        if example.final and example.source:
            self.seen["final"] += 1
            self.seen[example.source] += 1
            self.words["rationale"] += _words(example.final.result.get("text"))

    def _add_round(self, round_number: int, tried: Sequence[Row]) -> None:
        wrong = True
        for rationale in tried:
            number, right = pass_number(rationale), bool(rationale.result["correct"])
            self.seen["tried", round_number, number] += wrong
            self.seen["correct", round_number, number] += wrong and right
            wrong = wrong and not right
            self.seen["leak"] += bool(rationale.result.get("hint_leak"))
            if form := rationale.result.get("form"):
                self.forms[form] += 1
        self.seen["right", round_number, 0] += not wrong


def _words(text: str | None) -> int:
    return len((text or "").split())


def _mean(total: int, number: int) -> float | None:
    return total / number if number else None
