"""The progress of a run in a notebook: a bar below the cell, which needs no widgets."""

from __future__ import annotations

import sys
from html import escape
from typing import Any

from models.core.display import visible
from producer.progress import text
from producer.progress.status import Status

WIDTH = 30


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


class ProgressBar:
    """A picture of a status, as HTML and as text."""

    def __init__(self, status: Status) -> None:
        self._done, self._planned = status.rows.planned - status.rows.open, status.rows.planned
        lines = [f"{status.run.id}: {text.summary_line(status)}", *status.waits]
        self._text = visible("\n".join(lines))

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self._done}" max="{self._planned}" style="width: 20em"></progress>'
        return f"<div>{bar} {escape(self._text).replace(chr(10), '<br>')}</div>"

    def __repr__(self) -> str:
        full = WIDTH * self._done // max(1, self._planned)
        return f"[{'#' * full}{'.' * (WIDTH - full)}] {self._text}"


class NotebookProgress:
    """Shows one bar, and changes it as the run goes on."""

    def __init__(self) -> None:
        self._shown: Any = None

    def show(self, status: Status) -> None:
        from IPython.display import display

        if self._shown is None:
            self._shown = display(ProgressBar(status), display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(ProgressBar(status))
