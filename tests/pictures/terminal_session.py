"""Run commands in a real terminal of a fixed size, and keep what its screen showed and when."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROMPT = "$ "
# What is repainted within this time is one picture.
REPAINT_SECONDS = 0.1
# A wait is shown no longer than this.
LONGEST_WAIT = 0.4
TYPING_SECONDS = 1.0
ESCAPE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


@dataclass
class Screen:
    """Lines of text, and a cursor that moves as programs of this project move it: back, up, and erasing."""

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0

    def write(self, text: str) -> None:
        position = 0
        while position < len(text):
            if escape := ESCAPE.match(text, position):
                self._obey(escape[1], escape[2])
                position = escape.end()
            else:
                self._put(text[position])
                position += 1

    def _obey(self, number: str, command: str) -> None:
        if command == "A":
            self.row = max(0, self.row - int(number or 1))
        elif command == "K":
            self.lines[self.row] = ""
        elif command not in "hlm":  # the cursor's look, and colours
            raise ValueError(f"the screen does not know ESC[{number}{command}")

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n" or self.column == self.columns:
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
            if character != "\n":
                self._put(character)
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1


@dataclass(frozen=True)
class Frame:
    """The screen from a second on."""

    second: float
    lines: tuple[str, ...]


def record(commands: list[str], folder: Path, environment: Mapping[str, str], columns: int) -> list[Frame]:
    """Run each command in a shell, and return the screens; each command must succeed."""
    screen = Screen(columns)
    frames: list[Frame] = []
    clock = 0.0
    for command in commands:
        screen.write(PROMPT + command.replace("\n", "\r\n") + "\r\n")
        frames.append(_frame(clock, screen))
        clock += TYPING_SECONDS
        for wait, text in _output(command, folder, environment, columns):
            clock += min(wait, LONGEST_WAIT)
            screen.write(text)
            frames.append(_frame(clock, screen))
        clock += TYPING_SECONDS
    return frames


def _frame(second: float, screen: Screen) -> Frame:
    return Frame(round(second, 2), tuple(line.rstrip() for line in screen.lines))


def _output(
    command: str, folder: Path, environment: Mapping[str, str], columns: int
) -> Iterator[tuple[float, str]]:
    """Yield what a command writes to its terminal, each with the seconds since the last."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")()
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env={**environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    last = time.monotonic()
    while chunk := _read(ours):
        now = time.monotonic()
        yield now - last, decoder.decode(chunk)
        last = now
    os.close(ours)
    if process.wait() != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")


def _read(terminal: int) -> bytes:
    """Return what comes in the time of one repaint. The end, which Linux tells as an error, is empty."""
    chunks = []
    try:
        chunks.append(os.read(terminal, 1 << 16))
        time.sleep(REPAINT_SECONDS)
        if select.select([terminal], [], [], 0)[0]:
            chunks.append(os.read(terminal, 1 << 16))
    except OSError:
        pass
    return b"".join(chunks)
