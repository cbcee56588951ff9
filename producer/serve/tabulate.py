"""python -m producer.serve.tabulate RUN STEM: writes the tables of a run as a part of a page to STEM.part
and the whole report as a page to STEM.html."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models.errors import StarmillError
from producer.cli.common import open_ledger
from producer.files import replacing_file
from producer.report import build_report
from producer.report.html import render, tables
from storage.ledger import planning

NICE = 10


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    run_id, stem = arguments
    os.nice(NICE)  # workers and feeder come first
    try:
        with open_ledger() as db:
            report = build_report(db, planning.load_run(db, run_id))
    except StarmillError as error:
        sys.stderr.write(f"starmill serve: no tables of {run_id}: {error}\n")
        return 2
    for suffix, text in ((".html", render(report)), (".part", tables(report))):
        with replacing_file(Path(stem + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
