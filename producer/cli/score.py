"""`starmill score` and `starmill audit`: predictions and rationales in files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.core.answers.checks import FAILURE_MODES
from producer.cli.common import JsonOption, print_json
from producer.results.paired_files import (
    FileComparison,
    compare_files,
    comparison_document,
    comparison_table,
    comparison_title,
)
from producer.results.report.contrast_sections import explanation
from producer.results.score_files import Audit, FileScores, References, Rules, audit_file, read_stats
from producer.safe_console import console

HEADINGS = {
    "bleu4": "BLEU-4",
    "char_bleu": "charBLEU",
    "exact_match": "exact",
    "chrf": "chrF",
    "normalised_match": "normalised",
    "tree_match": "tree",
    "parse_rate": "parses",
    "command_accuracy": "command",
}


def score(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE.jsonl...", help="lines of question_id, prediction, reference; .gz too"),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="the references of all files, as audit reads them, not each row's"),
    ] = None,
    rules: Annotated[Rules, typer.Option(help="compare texts as they are, or bare code")] = "paper",
    intervals: Annotated[bool, typer.Option("--intervals", help="add 95 % intervals")] = False,
    paired: Annotated[
        bool, typer.Option("--paired", help="compare each file with the first, on the rows that both have")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score predictions against their references, in percent; several files make one table."""
    references = References(reference) if reference else None
    stats = {path: read_stats(path, rules, references) for path in files}
    scores = {path: of_file.scores(with_intervals=intervals) for path, of_file in stats.items()}
    compared = compare_files(stats, [*HEADINGS]) if paired else {}
    if as_json:
        listed = {str(path): _entry(scored, rules) for path, scored in scores.items()}
        for path, each in compared.items():
            listed[str(path)]["paired"] = comparison_document(files[0], each)
        print_json(listed[str(files[0])] if len(files) == 1 else {"rules": rules, "files": listed})
        return
    names = _names(scores)
    table = Table(box=None, pad_edge=False)
    # Names of files may differ in their ends alone, and are not to be cut.
    table.add_column("file", overflow="fold")
    for heading in ("n", *HEADINGS.values()):
        table.add_column(heading, justify="right", overflow="fold")
    for path, scored in scores.items():
        table.add_row(names[path], f"{scored.n:,}", *(_cell(scored, name) for name in HEADINGS))
    console().print(table)
    for path, scored in scores.items():
        if scored.repeated:
            console().print(_left_out(names[path], scored), markup=False, soft_wrap=True)
        if scored.intervals and scored.questions < scored.n:
            console().print(_clustered(names[path], scored), markup=False, soft_wrap=True)
    _print_paired(names, compared)


def _names(files: Collection[Path]) -> dict[Path, str]:
    """Return the name of each file, or its whole path where another file has the same name."""
    numbers = Counter(path.name for path in files)
    return {path: path.name if numbers[path.name] == 1 else str(path) for path in files}


def _print_paired(names: Mapping[Path, str], compared: Mapping[Path, FileComparison]) -> None:
    out, first = console(), next(iter(names.values()))
    for path, each in compared.items():
        out.print()
        out.print(comparison_title(first, names[path], each), markup=False, soft_wrap=True)
        out.print(comparison_table(each, HEADINGS))
    if compared:
        differences = [each for file in compared.values() for each in file.comparison.differences.values()]
        out.print(explanation(differences, len(compared), with_d_z=True), markup=False)


def _left_out(name: str, scored: FileScores) -> str:
    rows = scored.n + scored.repeated
    return (
        f"{name}: {scored.repeated:,} of {rows:,} rows share an id with a later row and are left out, "
        "as in the paper; --rules strict counts each"
    )


def _clustered(name: str, scored: FileScores) -> str:
    return (
        f"{name}: {scored.n:,} rows are {scored.questions:,} questions by their ids; intervals keep the "
        "rows of a question together"
    )


def _entry(scored: FileScores, rules: Rules) -> dict[str, Any]:
    entry: dict[str, Any] = {"n": scored.n}
    entry |= {name: round(value, 2) for name, value in scored.scores.items()}
    entry |= {"rules": rules, "repeated": scored.repeated, "questions": scored.questions}
    if scored.intervals:
        entry["intervals"] = {
            name: [round(low, 2), round(high, 2)] for name, (low, high) in scored.intervals.items()
        }
    return entry


def _cell(scored: FileScores, name: str) -> str:
    shown = f"{scored.scores[name]:.2f}"
    if name in scored.intervals:
        low, high = scored.intervals[name]
        shown += f" [{low:.1f}, {high:.1f}]"
    return shown


SHOWN = 160


def audit(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.jsonl", help="lines of question_id, rationale, query; .gz too")
    ],
    reference: Annotated[
        Path,
        typer.Option(metavar="FILE", help="lines of question_id, reference; or train.json"),
    ],
    as_json: JsonOption = False,
) -> None:
    """Count right rationales under each correctness rule, hint leaks and failure modes."""
    result = audit_file(file, reference)
    if as_json:
        print_json(result.counts())
        return
    _print(result)


def _print(result: Audit) -> None:
    out = console()
    out.print(f"{result.n:,} rationales")
    for rule, number in result.counts()["correct"].items():
        out.print(f"  correct, {rule}: {number:,} ({100 * number / result.n:.1f} %)")
    for mode, says in FAILURE_MODES.items():
        out.print(f"{mode.replace('_', ' ')}: {result.modes[mode]:,} ({says})")
        for key, text in result.examples.get(mode, ()):
            line = " ".join(text.split())
            out.print(f"  {key}: {line if len(line) <= SHOWN else line[: SHOWN - 3] + '...'}")
    if result.leaks:
        out.print(f"mention their hint: {', '.join(result.leaks)}")
