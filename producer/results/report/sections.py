"""The words and numbers that all formats for people share."""

from __future__ import annotations

from collections.abc import Mapping

from producer.results.report.ablation_table import Measure, TableRow
from producer.results.report.build import Report
from producer.results.report.effects import LEVEL, CellComparison, Difference
from producer.results.report.measures import QUANTILES, RetrievalQuality
from producer.results.report.statistics import Statistics

RATIONALES = {"none": "none", "first_pass": "first pass", "star": "STaR"}
NOTHING = "-"
QUALITY = ("Retrieval", "Test rows", "Right of those shown", "Rows with none right", "Tokens a row")
QUALITY_NOTE = "Of test rows whose right passages are known; a token is counted as four characters."

EFFECTS_NOTE = (
    "Percent points over the same test rows and seeds, with 95 % intervals by the paired bootstrap. "
    "p is two-sided, by approximate randomization (with one seed, of what is right or wrong: McNemar's exact "
    f"test), and corrected for all comparisons of a metric here (Holm); * marks p below {LEVEL}."
)

FAILING = ("Stage", "Texts", "With a failure", "Failure modes", "Answers not accepted")
FAILING_NOTE = (
    "Told from the texts that were kept, of which one may fail in several ways; answers without worked "
    "examples need no answer sentence. What was not accepted was asked for again, or failed."
)
SPENDING = ("Stage", "Calls", "Prompt tokens", "Completion tokens", "Dollars", *QUANTILES)
SPENDING_NOTE = "What this run bought itself. Latency in seconds of a call, retries and batches apart."


def axes(report: Report) -> list[str]:
    """Headings of what tells cells apart; the last two only where the grid varies them."""
    chosen = ["Exemplars"] if any(row.cell.exemplars_vary for row in report.table) else []
    augmented = ["Test request"] if any(row.cell.augment_test for row in report.table) else []
    return ["Student", "Shots", "Retrieval", "Rationale", *chosen, *augmented]


def place(report: Report, row: TableRow) -> list[str]:
    """The cell on each of the `axes`."""
    cell = row.cell
    asked = "augmented" if cell.augment_test else "as written"
    words = {
        "Student": cell.student,
        "Shots": str(cell.shots),
        "Retrieval": cell.retrieval_word,
        "Rationale": RATIONALES[cell.rationale],
        "Exemplars": cell.exemplars or NOTHING,
        "Test request": asked,
    }
    return [words[axis] for axis in axes(report)]


def answers(row: TableRow) -> str:
    """`n`, and of how many where some are missing."""
    return f"{row.n:,}" if row.n == row.planned else f"{row.n:,} of {row.planned:,}"


def interval(measure: Measure | Difference) -> str:
    return f"[{measure.low:.1f}, {measure.high:.1f}]"


def detail(measure: Measure) -> str:
    """What stands beside a score: its interval, and its standard deviation where there are several seeds."""
    return interval(measure) + ("" if measure.sd is None else f" sd {measure.sd:.2f}")


def effect_headings(report: Report) -> tuple[str, ...]:
    return ("Cell", "Against", "n", *report.compared.values())


def effect_lines(report: Report) -> list[list[str]]:
    """A line for each comparison under its headings."""
    return [
        [
            found.cell.variant,
            baseline_word(found),
            f"{found.n:,}",
            *(difference(found.differences[name]) for name in report.compared),
        ]
        for found in report.effects
    ]


def baseline_word(found: CellComparison) -> str:
    """What the cell is compared with."""
    return f"{found.against.variant} (baseline)" if found.baseline else found.against.variant


def difference(found: Difference) -> str:
    mark = "*" if found.significant else ""
    return f"{found.value:+.2f}{mark} {interval(found)} p {p_value(found.p_holm)}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def failing_lines(report: Report) -> list[list[str]]:
    """A line for each stage whose texts were looked at, under the headings FAILING."""
    return [
        [
            found.stage,
            f"{found.texts:,}",
            _of(found.failing, found.texts),
            named(found.modes) or NOTHING,
            named(found.rejected) or NOTHING,
        ]
        for found in report.failing
    ]


def spending_lines(report: Report) -> list[list[str]]:
    """A line for each stage that bought calls, under the headings SPENDING."""
    return [
        [
            found.stage, f"{found.calls:,}", f"{found.prompt_tokens:,}", f"{found.completion_tokens:,}",
            f"{found.dollars:,.4f}", *(_seconds(found.latency.get(name)) for name in QUANTILES),
        ]
        for found in report.spending
    ]  # fmt: skip


def named(numbers: Mapping[str, int]) -> str:
    """Such as `no code 3, refusal 1`."""
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in numbers.items())


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def quality_lines(report: Report) -> list[list[str]]:
    """What was shown of the documentation, a line for each way to retrieve, under the headings QUALITY."""
    both = len({found.augment_test for found in report.retrieval}) > 1
    return [
        [
            f"{found.retrieval}, augmented" if both and found.augment_test else found.retrieval,
            f"{found.rows:,}",
            _precision(found),
            f"{found.missed:,} ({found.miss_rate:.1f} %)",
            f"{found.tokens:.0f}",
        ]
        for found in report.retrieval
    ]


def _precision(found: RetrievalQuality) -> str:
    return (
        NOTHING
        if found.precision is None
        else f"{found.right:,} of {found.shown:,} ({found.precision:.1f} %)"
    )


def statistic_lines(report: Report) -> list[tuple[str, str]]:
    """(what, how many) of the synthetic set and of what was paid, in reading order."""
    found = report.statistics
    return [
        ("Train examples", f"{found.examples:,}"),
        ("Augmented", _of(found.augmented, found.examples)),
        ("Documentation retrieved", _of(found.retrieved, found.examples)),
        ("Rationales, first pass", _of(found.rationales, found.examples)),
        ("Correct at the first pass", _of(found.first_pass_correct, found.rationales)),
        *(
            (f"Became correct, rationalization pass {each.number}", _of(each.correct, each.tried))
            for each in found.passes
        ),
        *_rounds(found),
        ("Accepted in all", _of(found.accepted, found.examples)),
        ("Still wrong", f"{found.still_wrong:,}"),
        ("Rationales that mention their hint", f"{found.hint_leaks:,}"),
        ("Rationales of the wrong form", _reasons(found.wrong_form)),
        ("Words per augmentation", _mean(found.words_per_augmentation)),
        ("Words per rationale", _mean(found.words_per_rationale)),
        ("Rejected answers, whole run", _reasons(found.rejected)),
        ("Failed units, whole run", _reasons(found.failed)),
        ("Model calls bought", f"{found.calls:,}"),
        ("Tokens", _tokens(found)),
        ("Cost", f"${found.cost_usd:,.4f}"),
    ]


def _rounds(found: Statistics) -> list[tuple[str, str]]:
    """How many are right after each round; said once, where there is one."""
    if len(found.rounds) < 2:
        return []
    lines = []
    for each in found.rounds:
        lines += [
            (
                f"Round {each.number}, correct at the first pass",
                _of(each.first_pass_correct, each.rationales),
            ),
            (f"Round {each.number}, correct after all passes", _of(each.correct, each.rationales)),
        ]
    return lines


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f} %)" if whole else f"{part:,}"


def _mean(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _reasons(reasons: dict[str, int]) -> str:
    if not reasons:
        return "0"
    named = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())
    return f"{sum(reasons.values()):,}: {named}"


def _tokens(found: Statistics) -> str:
    cached = f" ({found.cached_tokens:,} cached)" if found.cached_tokens else ""
    return f"{found.prompt_tokens:,} prompt{cached}, {found.completion_tokens:,} completion"
