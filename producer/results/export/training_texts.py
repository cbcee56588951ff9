"""The conversations of exported rows for training.

The prompt is the template `export` of the task folder or, without one, what the teacher was asked, less hint,
seeds and documentation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.core.errors import UsageError
from models.core.prompts.rendering import PromptRenderer, format_messages
from models.core.types import JSON, Message
from producer.results.synthetic_set import SyntheticExample
from storage.ledger.queries import ResultRow
from storage.ledger.runs import Run

Shown = Literal["passages", "seeds"]
MESSAGES = [{"role": str, "content": str}]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The prompt of an exported row, and the answer to it."""

    prompt: tuple[Message, ...]
    answer: str

    @property
    def text(self) -> str:
        """The prompt as one text, for trainers that know no turns."""
        return f"{format_messages('raw', self.prompt).prompt}\n\n"

    @property
    def messages(self) -> list[JSON]:
        return [*as_messages(self.prompt), *as_messages([Message("assistant", self.answer)])]


def as_messages(messages: Collection[Message]) -> list[JSON]:
    return [{"role": each.role, "content": each.content} for each in messages]


@dataclass(frozen=True, slots=True)
class TrainingTexts:
    """Makes the conversations of a run's rows. `shown` are the parts that are left out otherwise."""

    run: Run
    shown: frozenset[Shown] = field(default_factory=frozenset)

    def conversation(
        self, example: SyntheticExample, rationale: ResultRow, columns: Mapping[str, Any], body: JSON | None
    ) -> Conversation:
        """Return the conversation that ends in `rationale`; `body` is the request that it answered. Of runs
        of releases before task folders the prompt is the request alone."""
        if self.run.experiment.task is None:
            return Conversation((Message("user", query(example, rationale)),), rationale.result["text"])
        wording = PromptRenderer(self.run.experiment.task)
        passages = [hit.passage for hit in example.shown] if "passages" in self.shown else []
        prompt = wording.training_prompt(query(example, rationale), passages, columns)
        if "seeds" in self.shown and body:
            turns = [Message(each["role"], each["content"]) for each in body["messages"][1:-1]]
            prompt = (*prompt[:-1], *turns, prompt[-1])
        answer = rationale.result.get("answer") or ""
        return Conversation(prompt, wording.training_answer(rationale.result["text"], answer, columns))


def check_shown(run: Run, shown: Collection[Shown]) -> None:
    """Raise UsageError if the run's prompts for training cannot show these parts."""
    experiment = run.experiment
    if shown and experiment.task is None:
        raise UsageError(f"--with: run {run.id} is of a release before task folders; leave it out")
    if "seeds" not in shown:
        return
    if experiment.task and experiment.task.prompts.export:
        raise UsageError(
            "--with seeds: they are in the words of rationale.j2, and the prompt in those of export.j2; "
            "leave one of them out"
        )
    if (teacher := experiment.teacher) and teacher.prompt_format != "chat":
        raise UsageError(f"--with seeds: the teacher was asked in prompt format {teacher.prompt_format}, "
                         "which has no turns; leave it out")  # fmt: skip


def query(example: SyntheticExample, final: ResultRow) -> str:
    augmented = example.augment.result.get("query") if example.augment else None
    return str(final.result.get("query") or augmented or final.request)
