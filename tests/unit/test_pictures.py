"""The pictures of the pages: small, readable as XML, and made by code that shows what a terminal showed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.pictures.__main__ import PICTURES
from tests.pictures.diagrams import DRAWINGS
from tests.pictures.terminal_session import Frame, Screen, record
from tests.pictures.terminal_svg import drawn
from tests.support.pages import PAGES

MAX_KILOBYTES = 600
SVG = "{http://www.w3.org/2000/svg}"


def test_pictures_are_small_and_all_shown() -> None:
    files = sorted(PICTURES.iterdir())
    assert sum(file.stat().st_size for file in files) < MAX_KILOBYTES * 1024
    text = "\n".join(PAGES.values())
    assert [file.name for file in files if f"pictures/{file.name})" not in text] == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_in_the_repository_is_what_the_code_draws(name: str) -> None:
    text = (PICTURES / name).read_text("utf-8")
    assert text == DRAWINGS[name](), "run `python -m tests.pictures drawings`"
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"


def test_screen_repaints_and_wraps_as_a_terminal_does() -> None:
    screen = Screen(columns=6)
    screen.write("\x1b[?25labc\r\n1 of 2")
    screen.write("\r\x1b[2K\x1b[1A\x1b[2K\x1b[1mdone\x1b[0m\r\n12345678\r\nX")
    assert screen.lines == ["done", "123456", "78", "X"]


def test_screen_refuses_what_it_cannot_show() -> None:
    with pytest.raises(ValueError, match="does not know"):
        Screen(columns=6).write("\x1b[5;5H")


def test_real_commands_are_recorded_on_a_terminal(tmp_path: Path) -> None:
    frames = record(["test -t 1 && echo one", "echo 'two <three>'"], tmp_path, os.environ, 40)
    last = ("$ test -t 1 && echo one", "one", "$ echo 'two <three>'", "two <three>", "")
    assert frames[-1].lines == last
    assert [frame.second for frame in frames] == sorted(frame.second for frame in frames)
    with pytest.raises(RuntimeError, match="ended with 1"):
        record(["false"], tmp_path, os.environ, 40)


def test_last_screen_is_seen_without_animation() -> None:
    frames = [Frame(0.0, ("$ a",)), Frame(0.5, ("$ a",)), Frame(1.0, ("$ a", "  b & c"))]
    root = ElementTree.fromstring(drawn(frames, 20, "a"))
    groups = root.findall(f"{SVG}g")
    assert [group.get("class") for group in groups] == ["frame", "last"]
    assert [text.text for text in groups[1]] == ["$ a", "b & c"]
    assert [text.get("class") for text in groups[1]] == ["command", None]


def test_long_recording_plays_faster() -> None:
    svg = drawn([Frame(0.0, ("a",)), Frame(30.0, ("b",)), Frame(60.0, ("c",))], 20, "a")
    assert re.findall(r"animation: \w+ [\d. s]+", svg) == [
        "animation: during 10.0s 0.0s", "animation: during 10.0s 10.0s", "animation: before 20.0s",
    ]  # fmt: skip
