"""`starmill score` and `starmill audit`: predictions and rationales in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.core.answers.checks import FAILURE_MODES
from producer.cli.common import JsonOption, console, print_json
from producer.results.score_files import Audit, FileScores, References, Rules, audit_file, score_file

HEADINGS = {
    "bleu4": "BLEU-4",
    "char_bleu": "charBLEU",
    "exact_match": "exact",
    "chrf": "chrF",
    "normalised_match": "normalised",
    "tree_match": "tree",
    "parse_rate": "parses",
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
    intervals: Annotated[bool, typer.Option("--intervals", help="add 95 % bootstrap intervals")] = False,
    as_json: JsonOption = False,
) -> None:
    """Score predictions against their references, in percent; several files make one table."""
    references = References(reference) if reference else None
    scores = {path: score_file(path, rules, references, with_intervals=intervals) for path in files}
    if as_json:
        listed = {str(path): _entry(scored, rules) for path, scored in scores.items()}
        print_json(listed[str(files[0])] if len(files) == 1 else {"rules": rules, "files": listed})
        return
    table = Table("file", box=None, pad_edge=False)
    for heading in ("n", *HEADINGS.values()):
        table.add_column(heading, justify="right")
    for path, scored in scores.items():
        table.add_row(path.name, f"{scored.n:,}", *(_cell(scored, name) for name in HEADINGS))
    console().print(table)


def _entry(scored: FileScores, rules: Rules) -> dict[str, Any]:
    entry: dict[str, Any] = {"n": scored.n}
    entry |= {name: round(value, 2) for name, value in scored.scores.items()}
    entry |= {"rules": rules, "repeated": scored.repeated}
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
