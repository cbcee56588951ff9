"""Single test rows to look at: what was asked, what each cell answered, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.core.pipeline.grid import cells
from models.core.types import Request
from storage.database import Database
from storage.ledger.queries import ResultRow, example_ids, requests, rows
from storage.ledger.runs import Run
from storage.schema import FAILED, FINAL, TEST

MOST_ROWS = 200
MOST_ANSWERS = 1600
# Characters of a text that are kept. A prompt ends in the request, so its end is worth more.
ANSWER_START, ANSWER_END = 1200, 300
PROMPT_START, PROMPT_END = 300, 1500


@dataclass(slots=True)
class CellAnswer:
    """What a cell answered with the grid's first seed. `right` is None where nothing was judged; `verdict`
    says why it is, or what became of the unit."""

    variant: str
    prompt: str = ""
    text: str = ""
    prediction: str = ""
    right: bool | None = None
    verdict: str = "not answered"


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A test row with an answer of each cell that has one, in the order of the grid."""

    number: int
    question_id: str
    request: str
    reference: str
    answers: dict[str, CellAnswer] = field(default_factory=dict)


def read_samples(db: Database, run: Run) -> tuple[SampleRow, ...]:
    """The same rows of all cells, chosen evenly over the test split: at most MOST_ROWS, and fewer where all
    cells together would have more than MOST_ANSWERS."""
    grid = [cell.variant for cell in cells(run.experiment)]
    ids = example_ids(db, run.id, TEST)
    chosen = evenly(len(ids), min(MOST_ROWS, max(1, MOST_ANSWERS // max(1, len(grid)))))
    found = [
        unit
        for unit in rows(
            db, run.id, stages=("answer", "judge"), states=FINAL, split=TEST,
            examples=[ids[place] for place in chosen],
        )
        if unit.sample == 0
    ]  # fmt: skip
    asked = requests(db, [unit.generation for unit in found if unit.generation])
    samples: dict[int, SampleRow] = {}
    for unit in found:
        new = SampleRow(unit.number, unit.question_id, shown(unit.request), shown(unit.reference))
        sample = samples.setdefault(unit.example_id, new)
        _tell(sample.answers.setdefault(unit.variant, CellAnswer(unit.variant)), unit, asked)
    return tuple(samples.values())


def evenly(of: int, most: int) -> list[int]:
    """Up to `most` of the places 0 ... of - 1, as far apart as can be."""
    count = min(of, most)
    return [place * of // count for place in range(count)]


def shown(text: str, start: int = ANSWER_START, end: int = ANSWER_END) -> str:
    """What can be shown of a text: its lines, without what no page can show, cut in the middle."""
    clean = visible(text)
    left_out = len(clean) - start - end
    if left_out <= 0:
        return clean
    return f"{clean[:start]}\n... {left_out:,} characters left out ...\n{clean[-end:]}"


def visible(text: str) -> str:
    """`text` without what moves a cursor, hides or cannot be encoded."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text.replace("\r\n", "\n")
    )


def _tell(answer: CellAnswer, unit: ResultRow, asked: Mapping[str, Request]) -> None:
    if unit.stage == "judge":
        if "exact_match" in unit.result:
            answer.prediction = shown(unit.result.get("prediction") or "")
            answer.right, answer.verdict = _verdict(unit)
        return
    if unit.state == FAILED:
        answer.verdict = f"failed: {unit.reason}"
    elif "text" in unit.result:
        answer.text = shown(unit.result["text"] or "")
        answer.verdict = "not judged"
    if request := asked.get(unit.generation or ""):
        words = request.prompt or "\n\n".join(said.content for said in request.messages)
        answer.prompt = shown(words, PROMPT_START, PROMPT_END)


def _verdict(unit: ResultRow) -> tuple[bool, str]:
    """The tests decide where there are any that can be run, else the run's rule, else equality."""
    same = bool(unit.result["exact_match"])
    words = "exact match" if same else "not the reference"
    outcome = (unit.result.get("execution") or {}).get("outcome", "unavailable")
    if outcome == "unavailable" and "correct" in unit.result:
        right = bool(unit.result["correct"])
        return right, f"{'right' if right else 'wrong'}, {words}"
    if outcome == "unavailable":
        return same, words
    return outcome == "passed", f"tests {outcome}, {words}"
