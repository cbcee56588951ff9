"""The sections of a report, made once for Markdown, LaTeX, HTML and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from models.core.display import usd
from models.core.pipeline.grid import Cell
from producer.progress.wait_lines import cost, without_price
from producer.results.report.ablation_table import TableRow
from producer.results.report.build import Report
from producer.results.report.contrast_sections import cell_pairs, crossed_effects, main_effects
from producer.results.report.cost_sections import cost_against_score
from producer.results.report.findings import cost_of_accepted, findings
from producer.results.report.learning_curve import learning_curve
from producer.results.report.measures import QUANTILES
from producer.results.report.provenance import provenance
from producer.results.report.score_columns import ScoreColumn, score_columns
from producer.results.report.statistics import Statistics
from producer.results.report.step_sections import by_columns, row_counts, steps, verdicts
from producer.results.report.table_parts import (
    NOTHING,
    Section,
    Value,
    counts_in_words,
    interval_text,
    section_of_texts,
    share,
)
from producer.results.report.verdict_agreement import agreement_sections

RATIONALES = {"none": "none", "first_pass": "first pass", "star": "STaR"}


def headline(report: Report) -> str:
    """Return the sentences that name the run and its models."""
    students = ", ".join(f"{name} ({model})" for name, model in report.students.items())
    teacher = f" Teacher: {report.teacher}." if report.teacher else ""
    models = ", ".join(f"{name} ({model})" for name, model in report.models.items())
    named = (f" {title}: {names}." for title, names in (("Students", students), ("Models", models)) if names)
    return f"Run {report.run}, {report.state}.{teacher}" + "".join(named)


def main_findings(report: Report) -> Section:
    return Section("Findings", (), [], remarks=findings(report))


def ablation(report: Report) -> Section:
    axes, columns = _axes(report), score_columns(report)

    def values(row: TableRow) -> list[Value]:
        position = [Value(word(row)) for word in axes.values()]
        return [*position, Value(row.answer_count), *(_score(row, column) for column in columns)]

    if not report.table:
        return Section("Remarks", (), [], remarks=report.notes)
    return Section(
        "Ablation",
        (*axes, "n", *(column.heading for column in columns)),
        [values(row) for row in report.table],
        "Scores are in percent, with 95 % intervals: of Wilson for shares, with the design effect of "
        "questions and seeds, else by the percentile bootstrap over questions. The best of each student is "
        "bold.",
        range(len(axes)),
        report.notes,
    )


def retrieval(report: Report) -> Section:
    several_wordings = len({quality.augment_test for quality in report.retrieval}) > 1
    return section_of_texts(
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
    return section_of_texts(
        "Failure modes",
        ("Stage", "Texts", "With a failure", "Failure modes", "Answers not accepted"),
        (
            (
                stage.stage,
                f"{stage.texts:,}",
                share(stage.failing, stage.texts),
                counts_in_words(stage.modes) or NOTHING,
                counts_in_words(stage.rejected) or NOTHING,
            )
            for stage in report.failing
        ),
        "Counts cover accepted texts; one text can fail in several ways. Answers without worked examples "
        "need no answer sentence. An answer that was not accepted was asked for again, or its unit failed.",
        (0, 3, 4),
    )


def synthetic_set(report: Report) -> Section:
    """Return counts of the synthetic set and of what was paid, in reading order."""
    numbers = report.statistics
    rows = [
        ("Rejected answers, whole run", _reasons(numbers.rejected)),
        ("Failed units, whole run", _reasons(numbers.failed)),
        ("Model calls bought", f"{numbers.calls:,}"),
        ("Tokens", _tokens(numbers)),
        ("Cost", _whole_cost(report) + _possible_cost(report)),
        *([("Cost per accepted row", price)] if (price := cost_of_accepted(report)) else []),
    ]
    if report.step_report:
        return section_of_texts(
            "Rows", ("", ""), [*row_counts(report.step_report), *rows], text_columns=(0, 1)
        )
    if "rationale" in report.trains:
        return section_of_texts("Synthetic set", ("", ""), [*_made(report), *rows], text_columns=(0, 1))
    return section_of_texts("Calls", ("", ""), rows, text_columns=(0, 1))


def _made(report: Report) -> list[tuple[str, str]]:
    """Return counts of what the teacher made, without the stages that the run does not have."""
    numbers = report.statistics
    augments, retrieves = "augment" in report.trains, "retrieve" in report.trains
    return [
        ("Train examples", f"{numbers.examples:,}"),
        *([("Augmented", share(numbers.augmented, numbers.examples))] if augments else []),
        *([("Documentation retrieved", share(numbers.retrieved, numbers.examples))] if retrieves else []),
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
        *([("Words per augmentation", _number(numbers.words_per_augmentation, 1))] if augments else []),
        ("Words per rationale", _number(numbers.words_per_rationale, 1)),
    ]


def _cost(report: Report, dollars: float) -> str:
    return cost(round(dollars * 1e9), report.unpriced)


def _whole_cost(report: Report) -> str:
    known = report.statistics.cost_usd or not report.unpriced
    return _cost(report, report.statistics.cost_usd) if known else without_price(report.unpriced)


def _possible_cost(report: Report) -> str:
    possible = round(report.possible_usd * 1e9)
    return f" (up to {usd(possible)} more for calls without an answer)" if possible else ""


def stages(report: Report) -> Section:
    return section_of_texts(
        "Stages",
        ("Split", "Stage", "Units", "Done", "Skipped", "Failed", "Left"),
        (
            (
                row.split,
                row.stage,
                *(f"{n:,}" for n in (row.planned, row.done, row.skipped, row.failed, row.left)),
            )
            for row in report.stages
            if not report.step_report
        ),
        text_columns=(0, 1),
    )


def spending(report: Report) -> Section:
    return section_of_texts(
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


def origin(report: Report) -> Section:
    return provenance(report.provenance)


# The tables by columns come between the two.
SECTIONS = (
    main_findings, ablation, main_effects, crossed_effects, cell_pairs, retrieval, failure_modes,
    synthetic_set, steps, verdicts,
)  # fmt: skip
COUNTS = (stages, spending, origin)


def report_sections(report: Report) -> list[Section]:
    """Return the sections that have something to show."""
    made = [
        *(make(report) for make in SECTIONS),
        learning_curve(report),
        cost_against_score(report),
        *agreement_sections(report.agreement),
        *by_columns(report),
        *(make(report) for make in COUNTS),
    ]
    return [section for section in made if section.rows or section.remarks]


def cell_label(cell: Cell, retrieval: str = "") -> str:
    """Name the cell, such as `2-shot, STaR`, without its student and wording."""
    rationale = _rationale_words(cell) if cell.rationale != "none" else ""
    exemplars = cell.exemplars if cell.exemplars_vary and cell.shots else ""
    requests = _exemplar_requests(cell) if cell.augment_exemplars_vary else ""
    size = f"of {cell.train_rows:,} rows" if cell.train_rows else ""
    return ", ".join(filter(None, (f"{cell.shots}-shot", retrieval, rationale, exemplars, requests, size)))


def _exemplar_requests(cell: Cell) -> str:
    return "augmented exemplars" if cell.augment_exemplars else "raw exemplars"


def _rationale_words(cell: Cell) -> str:
    shown = ("all" if cell.wrong_rationales else "right") if cell.wrong_vary else ""
    return f"{RATIONALES[cell.rationale]} {shown}".rstrip()


def _axes(report: Report) -> Mapping[str, Callable[[TableRow], str]]:
    """Return what tells cells apart, by heading; retrieval and the last two only where cells use them."""
    axes: dict[str, Callable[[TableRow], str]] = {
        "Student": lambda row: row.cell.student,
        "Shots": lambda row: str(row.cell.shots),
    }
    if any(row.cell.retrieval for row in report.table):
        axes["Retrieval"] = lambda row: row.cell.retrieval_word
    axes["Rationale"] = lambda row: _rationale_words(row.cell)
    if any(row.cell.exemplars_vary for row in report.table):
        axes["Exemplars"] = lambda row: row.cell.exemplars or NOTHING
    if any(row.cell.augment_exemplars_vary for row in report.table):
        axes["Their requests"] = lambda row: (
            ("augmented" if row.cell.augment_exemplars else "as written") if row.cell.shots else NOTHING
        )
    if any(row.cell.train_rows for row in report.table):
        axes["Train rows"] = lambda row: f"{row.cell.train_rows:,}" if row.cell.train_rows else NOTHING
    if any(row.cell.augment_test for row in report.table):
        axes["Test request"] = lambda row: "augmented" if row.cell.augment_test else "as written"
    return axes


def _score(row: TableRow, column: ScoreColumn) -> Value:
    measure = column.measure(row)
    if measure is None:
        return Value(NOTHING)
    spread = "" if measure.sd is None else f" sd {measure.sd:.2f}"
    interval = interval_text(measure.low, measure.high)
    return Value(f"{measure.value:.2f}", interval + spread, column.is_best(row))


def _rounds(numbers: Statistics) -> Iterable[tuple[str, str]]:
    """Yield how many are right after each round, where there are several."""
    for each in numbers.rounds if len(numbers.rounds) > 1 else ():
        name = f"Round {each.number}, correct"
        yield f"{name} at the first pass", share(each.first_pass_correct, each.rationales)
        yield f"{name} after all passes", share(each.correct, each.rationales)


def _reasons(reasons: Mapping[str, int]) -> str:
    return f"{sum(reasons.values()):,}: {counts_in_words(reasons)}" if reasons else "0"


def _number(value: float | None, decimals: int) -> str:
    return NOTHING if value is None else f"{value:.{decimals}f}"


def _tokens(numbers: Statistics) -> str:
    cached = f" ({numbers.cached_tokens:,} cached)" if numbers.cached_tokens else ""
    return f"{numbers.prompt_tokens:,} prompt{cached}, {numbers.completion_tokens:,} completion"
