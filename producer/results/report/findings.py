"""The main findings of a report, in at most five sentences that follow from its counts and tests."""

from __future__ import annotations

from collections.abc import Sequence

from models.core.pipeline.contrasts import Change
from producer.progress.wait_lines import cost
from producer.results.differences import LEVEL, TOO_FEW, Difference, test_words, visible_words
from producer.results.report.ablation_table import Measure, TableRow
from producer.results.report.build import Report
from producer.results.report.effects import AxisEffect, decisive_metric
from producer.results.report.step_report import StepReport, StepSummary
from producer.results.report.table_parts import interval_text, share
from producer.results.step_verdicts import RIGHT

# Each claim with the changes that test it; the first of these that the grid has counts.
CLAIMS: Sequence[Sequence[Change]] = (
    (Change("rationale", "first_pass", "star"),),
    (Change("rationale", "none", "star"), Change("rationale", "none", "first_pass")),
    (Change("retrieval", False, True),),
)


def findings(report: Report) -> tuple[str, ...]:
    sentences: tuple[str, ...]
    if report.step_report:
        sentences = (_rows(report.step_report, report), _verdict(report.step_report), _spending(report))
    else:
        claims = _claims(report)
        sentences = (_made(report), _best_cell(report), *(claims or [_tests(report)]))
    return tuple(filter(None, sentences))


def cost_of_accepted(report: Report) -> str:
    """Return what an accepted row cost, or nothing if none was accepted or no call was bought."""
    results, numbers = report.step_report, report.statistics
    accepted = results.accepted or 0 if results else numbers.accepted
    if not (accepted and numbers.calls):
        return ""
    return cost(round(numbers.cost_usd * 1e9 / accepted), report.unpriced)


def _made(report: Report) -> str:
    numbers = report.statistics
    if not numbers.rationales:
        return ""
    price = cost_of_accepted(report)
    hinted = sum(each.correct for each in numbers.passes)
    after = f"; hints made {hinted:,} more right" if numbers.passes else ""
    each = f", at {price} each" if price and not report.unpriced else ""
    return (
        f"The teacher was right at the first pass in {share(numbers.first_pass_correct, numbers.rationales)}"
        f"{after}; {share(numbers.accepted, numbers.examples)} are accepted{each}."
    )


def _best_cell(report: Report) -> str:
    metric = decisive_metric(report.metrics)
    scored = [(row, row.measures[metric]) for row in report.table if metric in row.measures]
    if not scored:
        return ""
    top = max(measure.value for _, measure in scored)
    best = [(row, measure) for row, measure in scored if measure.value == top]
    heading = report.metrics[metric].lower()
    if len(best) == len(scored) > 1:
        return f"All {len(scored)} cells have the same {heading}, {top:.2f} %."
    if len(best) > 1:
        return f"{len(best)} of {len(scored)} cells share the highest {heading}, {top:.2f} %."
    [(row, measure)] = best
    above = _above(report, row, metric)
    return f"The highest {heading}, {_measure(measure)}, is that of {row.cell.name}{above}."


def _above(report: Report, row: TableRow, metric: str) -> str:
    for effect in report.effects:
        if effect.cell == row.cell and effect.baseline and (difference := effect.differences.get(metric)):
            above = f": {difference.value:+.2f} points from {effect.against.name}"
            return f"{above}, {_test(difference)}"
    return ""


def _test(difference: Difference) -> str:
    if not difference.enough_rows:
        return TOO_FEW
    words = "significant" if difference.significant else "which chance may explain"
    return f"{words} (p {test_words(difference)})"


def _claims(report: Report) -> list[str]:
    """Return a sentence for each claim of the paper that the grid tests, in the decisive metric."""
    metric = decisive_metric(report.metrics)
    effects = {each.contrast.changes: each for each in report.axis_effects}
    tested = (next((effects[key,] for key in changes if (key,) in effects), None) for changes in CLAIMS)
    return [_claim(effect, metric, report) for effect in tested if effect and metric in report.compared]


def _claim(effect: AxisEffect, metric: str, report: Report) -> str:
    difference = effect.comparison.differences[metric]
    interval = interval_text(difference.low, difference.high)
    score = report.compared[metric].lower()
    sentence = f"{effect.contrast.name}: {difference.value:+.2f} points of {score} {interval}, "
    visible = visible_words(difference)
    unseen = f"; {visible} was the least visible" if visible and not difference.significant else ""
    return f"{sentence}{_test(difference)}{unseen}."


def _tests(report: Report) -> str:
    metric = decisive_metric(report.metrics)
    differences = [each for effect in report.effects if (each := effect.differences.get(metric))]
    if not differences:
        return ""
    heading = report.metrics[metric].lower()
    if not any(each.enough_rows for each in differences):
        return ""
    sure = [each for each in differences if each.significant]
    tested = f"{len(differences):,} paired differences in {heading}"
    if not sure:
        return f"None of {tested} is significant at p {LEVEL} after Holm's correction."
    up, verb = sum(each.value > 0 for each in sure), "is" if len(sure) == 1 else "are"
    corrected = f"{verb} significant at p {LEVEL} after Holm's correction"
    return f"{len(sure):,} of {tested} {corrected}: {up:,} up, {len(sure) - up:,} down."


def _measure(measure: Measure) -> str:
    return f"{measure.value:.2f} % {interval_text(measure.low, measure.high)}"


def _rows(results: StepReport, report: Report) -> str:
    failed = f", {results.failed:,} failed" if results.failed else ""
    accepted = "" if results.accepted is None else f"; {share(results.accepted, results.rows)} are accepted"
    price = cost_of_accepted(report)
    each = f", at {price} each" if accepted and price and not report.unpriced else ""
    return f"{share(results.done, results.rows)} rows are done{failed}{accepted}{each}."


def _verdict(results: StepReport) -> str:
    """Return the share of what is right by the last step that says so, or the mean of the last score."""
    for step in reversed(results.steps):
        if (tally := step.measures.get(RIGHT)) and tally.mean is not None and tally.interval:
            word = step.word_for_right
            return f"{step.name}: {tally.mean:.1f} % {word} {interval_text(*tally.interval)} of {tally.n:,}."
        for name, tally in step.measures.items():
            if tally.mean is not None and not tally.is_share:
                return f"{step.name}: the mean {name} is {tally.mean:.2f} over {tally.n:,}."
    return ""


def _spending(report: Report) -> str:
    numbers, results = report.statistics, report.step_report
    if not (numbers.calls and results):
        return ""
    tokens = numbers.prompt_tokens + numbers.completion_tokens
    price = cost(round(numbers.cost_usd * 1e9), report.unpriced)
    paid = f"{numbers.calls:,} calls with {tokens:,} tokens cost {price}"
    largest = max(results.steps, key=_tokens)
    part = 100 * _tokens(largest) / tokens if tokens else 0.0
    spread = (
        f"; {part:.0f} % of the tokens went into {largest.name}" if len(results.steps) > 1 and part else ""
    )
    return f"{paid}{spread}."


def _tokens(step: StepSummary) -> int:
    return step.spent.usage.prompt + step.spent.usage.completion
