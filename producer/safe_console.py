"""Standard output and standard error, safe from what servers, models and data send to steer a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Progress
from rich.segment import Segment
from rich.text import Text

from models.core.display import visible

PLAIN_WIDTH = 1000


class VisibleConsole(Console):
    """A console that shows what servers, models and data send to steer a terminal, and does not send it."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape before the layout, so that widths are right."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Escape what came as another object than a text. Controls of rich itself stay."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError where nobody reads the result on. Go on where nobody reads messages."""
        if self.file is not sys.stderr:
            raise BrokenPipeError
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def console(plain_width: int = PLAIN_WIDTH) -> Console:
    """Return standard output; plain text if it is not a terminal."""
    return console_of(sys.stdout, plain_width)


def messages() -> Console:
    """Return standard error, for everything that is not the result."""
    return console_of(sys.stderr)


def progress_bar() -> Progress:
    """Return a progress bar on standard error. It is hidden if that is not a terminal."""
    out = messages()
    return Progress(console=out, transient=True, disable=not out.is_terminal)


def confirm(question: str) -> None:
    """Ask on standard error. Raise typer.Abort unless the answer is yes."""
    typer.confirm(visible(question), abort=True, err=True)


def console_of(stream: TextIO, plain_width: int = PLAIN_WIDTH) -> Console:
    # Rows hold code: its brackets are no markup. A file or a pipe has no width to wrap at. Lines in a
    # notebook are those of a pipe.
    wraps = stream.isatty()
    return VisibleConsole(
        file=stream, markup=False, emoji=False, highlight=False, force_jupyter=False,
        soft_wrap=not wraps, width=None if wraps else plain_width,
    )  # fmt: skip
