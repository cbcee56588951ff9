"""`starmill audit`: what a file of rationales is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.answers.failure_modes import FAILURE_MODES
from producer.cli.common import JsonOption, console, print_json
from producer.judging.auditing import Audit, audit_file

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
    found = audit_file(file, reference)
    if as_json:
        print_json(found.counts())
        return
    _print(found)


def _print(found: Audit) -> None:
    out = console()
    out.print(f"{found.n:,} rationales")
    for rule, number in found.counts()["correct"].items():
        out.print(f"  correct, {rule}: {number:,} ({100 * number / found.n:.1f} %)")
    for mode, says in FAILURE_MODES.items():
        out.print(f"{mode.replace('_', ' ')}: {found.modes[mode]:,} ({says})")
        for key, text in found.examples.get(mode, ()):
            line = " ".join(text.split())
            out.print(f"  {key}: {line if len(line) <= SHOWN else line[: SHOWN - 3] + '...'}")
    if found.leaks:
        out.print(f"mention their hint: {', '.join(found.leaks)}")
