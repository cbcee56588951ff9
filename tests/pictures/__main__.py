"""Make the pictures of the pages: `python -m tests.pictures [drawings|terminal|screenshots]...`.

The terminal takes half a minute, the screenshots as long as `make demo`. Nothing is staged: commands, pages
and numbers are those of real runs of this checkout, with the embedded model.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.pictures.diagrams import DRAWINGS
from tests.pictures.screenshots import make_screenshots
from tests.pictures.terminal_session import record
from tests.pictures.terminal_svg import drawn
from tests.support.pages import REPOSITORY
from tests.support.pipeline import STARMILL, Home
from tests.support.serving import PASSWORD

PICTURES = REPOSITORY / "deploy" / "pictures"
ROWS = """\
question,level
What is a queue in programming?,high
Why is the sky blue?,low
What does a database index do?,high
What is a prime number?,low
Why do leaves fall in autumn?,low
What is a compiler?,high
How does a lever work?,low
What is an eclipse?,low
"""
SESSION = (
    "head -n 3 rows.csv",
    "starmill generate rows.csv --prompt 'Explain in one sentence: {{ question }}' \\\n"
    "    --backend embedded --model smollm2 --param max_tokens=64 -o out.jsonl",
    "head -n 2 out.jsonl",
)
COLUMNS = 110


def drawings(_: Path) -> None:
    for name, draw in DRAWINGS.items():
        (PICTURES / name).write_text(draw(), encoding="utf-8")


def terminal(folder: Path) -> None:
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    home = Home(folder / "home")
    environment = home.environment | {"PATH": f"{STARMILL.parent}:{os.environ['PATH']}"}
    frames = record(list(SESSION), folder, environment, COLUMNS)
    (PICTURES / "terminal.svg").write_text(drawn(frames, COLUMNS, "starmill generate"), encoding="utf-8")


def screenshots(folder: Path) -> None:
    home = Home(folder / "demo", {"STARMILL_DASHBOARD_PASSWORD": PASSWORD}, flower=True)
    make_screenshots(home, "demo", PICTURES)


MAKERS: dict[str, Callable[[Path], None]] = {
    make.__name__: make for make in (drawings, terminal, screenshots)
}


def main(names: list[str]) -> None:
    for name in names or MAKERS:
        with tempfile.TemporaryDirectory() as folder:
            MAKERS[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
