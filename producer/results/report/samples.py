"""Single test rows to look at: what was asked, what each cell answered, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.core.pipeline.grid import cells
from models.core.types import Request
from producer.results.row_verdicts import execution_outcome, is_right
from storage.database import Database
from storage.ledger.queries import ResultRow, example_ids, iter_rows, requests
from storage.ledger.runs import Run
from storage.schema import FAILED, FINAL, TEST

MAX_ROWS = 200
MAX_ANSWERS = 1600
# Characters of a text that are kept. A prompt ends in the request, so more of its end is kept.
ANSWER_START, ANSWER_END = 1200, 300
PROMPT_START, PROMPT_END = 300, 1500


@dataclass(slots=True)
class CellAnswer:
    """The answer of a cell with the grid's first seed. `right` is None if nothing was judged; `verdict` gives
    the reason, or the state of the unit."""

    variant: str
    prompt: str = ""
    text: str = ""
    prediction: str = ""
    right: bool | None = None
    verdict: str = "not answered"


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A test row with the answers of the cells that have one, in the order of the grid."""

    number: int
    question_id: str
    request: str
    reference: str
    answers: dict[str, CellAnswer] = field(default_factory=dict)


def read_samples(db: Database, run: Run) -> tuple[SampleRow, ...]:
    """Read the same rows of all cells, chosen evenly over the test split: at most MAX_ROWS, and fewer if all
    cells together would have more than MAX_ANSWERS."""
    grid = [cell.name for cell in cells(run.experiment)]
    ids = example_ids(db, run.id, TEST)
    chosen = evenly_spaced(len(ids), min(MAX_ROWS, max(1, MAX_ANSWERS // max(1, len(grid)))))
    examples = [ids[index] for index in chosen]
    judged = iter_rows(db, run.id, stages=("answer", "judge"), states=FINAL, split=TEST, examples=examples)
    units = [unit for unit in judged if unit.sample == 0]
    sent = requests(db, [unit.generation for unit in units if unit.generation])
    samples: dict[int, SampleRow] = {}
    for unit in units:
        new = SampleRow(unit.number, unit.question_id, cut_middle(unit.request), cut_middle(unit.reference))
        sample = samples.setdefault(unit.example_id, new)
        _fill(sample.answers.setdefault(unit.variant, CellAnswer(unit.variant)), unit, sent)
    return tuple(samples.values())


def evenly_spaced(total: int, max_count: int) -> list[int]:
    """Return up to `max_count` of the indices 0 ... total - 1, evenly spaced."""
    count = min(total, max_count)
    return [index * total // count for index in range(count)]


def cut_middle(text: str, start: int = ANSWER_START, end: int = ANSWER_END) -> str:
    """Return the printable lines of a text; a long one loses its middle."""
    clean = printable(text)
    left_out = len(clean) - start - end
    if left_out <= 0:
        return clean
    return f"{clean[:start]}\n... {left_out:,} characters left out ...\n{clean[-end:]}"


def printable(text: str) -> str:
    """Replace characters that move a cursor, hide or cannot be encoded."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text.replace("\r\n", "\n")
    )


def _fill(answer: CellAnswer, unit: ResultRow, sent: Mapping[str, Request]) -> None:
    if unit.stage == "judge":
        if "exact_match" in unit.result:
            answer.prediction = cut_middle(unit.result.get("prediction") or "")
            answer.right, answer.verdict = _verdict(unit)
        return
    if unit.state == FAILED:
        answer.verdict = f"failed: {unit.reason}"
    elif "text" in unit.result:
        answer.text = cut_middle(unit.result["text"] or "")
        answer.verdict = "not judged"
    if request := sent.get(unit.generation or ""):
        prompt = request.prompt or "\n\n".join(message.content for message in request.messages)
        answer.prompt = cut_middle(prompt, PROMPT_START, PROMPT_END)


def _verdict(unit: ResultRow) -> tuple[bool, str]:
    right = is_right(unit)
    words = "exact match" if unit.result["exact_match"] else "not the reference"
    if outcome := execution_outcome(unit):
        return right, f"tests {outcome}, {words}"
    if "correct" in unit.result:
        return right, f"{'right' if right else 'wrong'}, {words}"
    return right, words
