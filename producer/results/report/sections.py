"""The sections of a report, made once for Markdown, LaTeX, HTML and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from models.core.display import usd
from models.core.pipeline.grid import Cell
from producer.progress.wait_lines import cost
from producer.results.report.ablation_table import Measure, TableRow
from producer.results.report.build import Report
from producer.results.report.effects import LEVEL, CellComparison, Difference
from producer.results.report.measures import QUANTILES
from producer.results.report.statistics import Statistics

RATIONALES = {"none": "none", "first_pass": "first pass", "star": "STaR"}
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a table. `detail` holds numbers in small print beside it; the `best` value is bold."""

    text: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A table, the `note` that explains it, and `remarks` on this run.

    `text_columns` hold words, the other columns numbers. A table of names and values has empty headings.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[list[Value]]
    note: str = ""
    text_columns: Collection[int] = (0,)
    remarks: tuple[str, ...] = ()


def headline(report: Report) -> str:
    """Return the sentences that name the run and its models."""
    students = ", ".join(f"{name} ({model})" for name, model in report.students.items())
    sentence = f"Run {report.run}, {report.state}. Teacher: {report.teacher}."
    return f"{sentence} Students: {students}." if students else sentence


def ablation(report: Report) -> Section:
    axes = _axes(report)

    def values(row: TableRow) -> list[Value]:
        position = [Value(word(row)) for word in axes.values()]
        return [*position, Value(answer_count(row)), *(_score(row, name) for name in report.metrics)]

    return Section(
        "Ablation",
        (*axes, "n", *report.metrics.values()),
        [values(row) for row in report.table],
        "Scores are in percent, with 95 % intervals by the percentile bootstrap over rows. "
        "The best of each student is bold.",
        range(len(axes)),
        report.notes,
    )


def differences(report: Report) -> Section:
    return _section(
        "Paired differences",
        ("Cell", "Against", "n", *report.compared.values()),
        (
            (*_pair(effect), *(_difference(effect.differences[name]) for name in report.compared))
            for effect in report.effects
        ),
        "Percent points over the same test rows and seeds, with 95 % intervals by the paired bootstrap. "
        "p is two-sided, by approximate randomization (by McNemar's exact test for right or wrong answers of "
        f"one seed), and corrected for all comparisons of a metric (Holm); * marks p below {LEVEL}.",
        (0, 1),
    )


def retrieval(report: Report) -> Section:
    several_wordings = len({quality.augment_test for quality in report.retrieval}) > 1
    return _section(
        "Retrieval",
        ("Retrieval", "Test rows", "Right of those shown", "Rows with none right", "Tokens a row"),
        (
            (
                quality.retrieval + (", augmented" if several_wordings and quality.augment_test else ""),
                f"{quality.rows:,}",
                share(quality.right, quality.shown) if quality.shown else NOTHING,
                f"{quality.missed:,} ({quality.miss_rate:.1f} %)",
                f"{quality.tokens:.0f}",
            )
            for quality in report.retrieval
        ),
        "Counts cover test rows whose right passages are known; a token is counted as four characters.",
    )


def failure_modes(report: Report) -> Section:
    return _section(
        "Failure modes",
        ("Stage", "Texts", "With a failure", "Failure modes", "Answers not accepted"),
        (
            (
                stage.stage,
                f"{stage.texts:,}",
                share(stage.failing, stage.texts),
                _counts(stage.modes) or NOTHING,
                _counts(stage.rejected) or NOTHING,
            )
            for stage in report.failing
        ),
        "Counts cover accepted texts; one text can fail in several ways. Answers without worked examples "
        "need no answer sentence. An answer that was not accepted was asked for again, or its unit failed.",
        (0, 3, 4),
    )


def synthetic_set(report: Report) -> Section:
    """Counts of the synthetic set and of what was paid, in reading order."""
    numbers = report.statistics
    rows = [
        ("Train examples", f"{numbers.examples:,}"),
        ("Augmented", share(numbers.augmented, numbers.examples)),
        ("Documentation retrieved", share(numbers.retrieved, numbers.examples)),
        ("Rationales, first pass", share(numbers.rationales, numbers.examples)),
        ("Correct at the first pass", share(numbers.first_pass_correct, numbers.rationales)),
        *(
            (f"Became correct, rationalization pass {each.number}", share(each.correct, each.tried))
            for each in numbers.passes
        ),
        *_rounds(numbers),
        ("Accepted in all", share(numbers.accepted, numbers.examples)),
        ("Still wrong", f"{numbers.still_wrong:,}"),
        ("Rationales that mention their hint", f"{numbers.hint_leaks:,}"),
        ("Rationales of the wrong form", _reasons(numbers.wrong_form)),
        ("Words per augmentation", _number(numbers.words_per_augmentation, 1)),
        ("Words per rationale", _number(numbers.words_per_rationale, 1)),
        ("Rejected answers, whole run", _reasons(numbers.rejected)),
        ("Failed units, whole run", _reasons(numbers.failed)),
        ("Model calls bought", f"{numbers.calls:,}"),
        ("Tokens", _tokens(numbers)),
        ("Cost", _cost(report, numbers.cost_usd) + _possible_cost(report)),
    ]
    return _section("Synthetic set", ("", ""), rows, text_columns=(0, 1))


def _cost(report: Report, dollars: float) -> str:
    return cost(round(dollars * 1e9), report.unpriced)


def _possible_cost(report: Report) -> str:
    possible = round(report.possible_usd * 1e9)
    return f" (up to {usd(possible)} more for calls without an answer)" if possible else ""


def stages(report: Report) -> Section:
    return _section(
        "Stages",
        ("Split", "Stage", "Units", "Done", "Skipped", "Failed", "Left"),
        (
            (
                row.split,
                row.stage,
                *(f"{n:,}" for n in (row.planned, row.done, row.skipped, row.failed, row.left)),
            )
            for row in report.stages
        ),
        text_columns=(0, 1),
    )


def spending(report: Report) -> Section:
    return _section(
        "Cost and latency",
        ("Stage", "Calls", "Prompt tokens", "Completion tokens", "Dollars", *QUANTILES),
        (
            (
                stage.stage,
                *(f"{n:,}" for n in (stage.calls, stage.prompt_tokens, stage.completion_tokens)),
                _cost(report, stage.dollars).removeprefix("$"),
                *(_number(stage.latency.get(name), 2) for name in QUANTILES),
            )
            for stage in report.spending
        ),
        "Calls that this run bought itself. Latency is in seconds of a call, without retries and batches.",
    )


SECTIONS = (ablation, differences, retrieval, failure_modes, synthetic_set, stages, spending)


def report_sections(report: Report) -> list[Section]:
    """Return the sections that have something to show. The ablation is always one: it carries the remarks."""
    made = [make(report) for make in SECTIONS]
    return [section for section in made if section.rows or section.title == "Ablation"]


def cell_label(cell: Cell, retrieval: str = "") -> str:
    """Name the cell, such as `2-shot, STaR`, without its student and wording."""
    rationale = RATIONALES[cell.rationale] if cell.rationale != "none" else ""
    exemplars = cell.exemplars if cell.exemplars_vary and cell.shots else ""
    return ", ".join(filter(None, (f"{cell.shots}-shot", retrieval, rationale, exemplars)))


def answer_count(row: TableRow) -> str:
    """Return `n`, with the planned number where some are missing."""
    return f"{row.n:,}" if row.n == row.planned else f"{row.n:,} of {row.planned:,}"


def share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f} %)" if whole else f"{part:,}"


def _section(
    title: str,
    headings: tuple[str, ...],
    rows: Iterable[Iterable[str]],
    note: str = "",
    text_columns: Collection[int] = (0,),
) -> Section:
    return Section(title, headings, [[Value(text) for text in row] for row in rows], note, text_columns)


def _axes(report: Report) -> Mapping[str, Callable[[TableRow], str]]:
    """Return what tells cells apart, by heading; the last two only where the grid varies them."""
    axes: dict[str, Callable[[TableRow], str]] = {
        "Student": lambda row: row.cell.student,
        "Shots": lambda row: str(row.cell.shots),
        "Retrieval": lambda row: row.cell.retrieval_word,
        "Rationale": lambda row: RATIONALES[row.cell.rationale],
    }
    if any(row.cell.exemplars_vary for row in report.table):
        axes["Exemplars"] = lambda row: row.cell.exemplars or NOTHING
    if any(row.cell.augment_test for row in report.table):
        axes["Test request"] = lambda row: "augmented" if row.cell.augment_test else "as written"
    return axes


def _score(row: TableRow, metric: str) -> Value:
    measure = row.measures.get(metric)
    if measure is None:
        return Value(NOTHING)
    spread = "" if measure.sd is None else f" sd {measure.sd:.2f}"
    return Value(f"{measure.value:.2f}", _interval(measure) + spread, metric in row.best)


def _interval(measure: Measure | Difference) -> str:
    return f"[{measure.low:.1f}, {measure.high:.1f}]"


def _pair(effect: CellComparison) -> tuple[str, str, str]:
    against = effect.against.name + (" (baseline)" if effect.baseline else "")
    return effect.cell.name, against, f"{effect.n:,}"


def _difference(difference: Difference) -> str:
    mark = "*" if difference.significant else ""
    p_value = "< 0.001" if difference.p_holm < 0.001 else f"{difference.p_holm:.3f}"
    return f"{difference.value:+.2f}{mark} {_interval(difference)} p {p_value}"


def _rounds(numbers: Statistics) -> Iterable[tuple[str, str]]:
    """Yield how many are right after each round, where there are several."""
    for each in numbers.rounds if len(numbers.rounds) > 1 else ():
        name = f"Round {each.number}, correct"
        yield f"{name} at the first pass", share(each.first_pass_correct, each.rationales)
        yield f"{name} after all passes", share(each.correct, each.rationales)


def _counts(numbers: Mapping[str, int]) -> str:
    """Join counts, such as `no code 3, refusal 1`."""
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in numbers.items())


def _reasons(reasons: Mapping[str, int]) -> str:
    return f"{sum(reasons.values()):,}: {_counts(reasons)}" if reasons else "0"


def _number(value: float | None, decimals: int) -> str:
    return NOTHING if value is None else f"{value:.{decimals}f}"


def _tokens(numbers: Statistics) -> str:
    cached = f" ({numbers.cached_tokens:,} cached)" if numbers.cached_tokens else ""
    return f"{numbers.prompt_tokens:,} prompt{cached}, {numbers.completion_tokens:,} completion"
