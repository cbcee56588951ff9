"""Passages from HTML that Sphinx builds."""

from __future__ import annotations

import logging
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from models.core.errors import DatasetError
from models.core.experiment.passages import Passages
from models.core.types import Passage
from producer.corpus import attributions, read_passages
from producer.corpus.attribution import Attribution
from producer.corpus.sphinx import read_inventory

CONFIGURATION = 'project = "Tiny Lib"\ncopyright = "2026, Somebody"\nrelease = "1.2.3"\nversion = "1.2"\n'
INDEX = """
Tiny
====

.. toctree::

   guide/Boxes

.. py:module:: tiny

The smallest library.

.. py:function:: join(a, *parts, sep="/") -> str

   Join parts.

   At length.

   :param a: the first part

.. py:data:: LIMIT

.. c:function:: int tiny_open(char *name)

   Opens from C.
"""
BOXES = """
Boxes
=====

A page about boxes, :term:`thing`.

.. glossary::

   thing
      Whatever there is.

.. py:class:: tiny.Box(size)
              tiny.Box()

   .. versionadded:: 1.1

   Holds things.

   .. py:method:: open(force=False)

   .. py:property:: size
      :type: int

      Edge length.
"""
EXPECTED = [
    Passage("tiny_lib.guide.boxes#tiny.Box", "tiny.Box", "class tiny.Box(size)", "Holds things.", "tiny_lib"),
    Passage("tiny_lib.guide.boxes#tiny.Box.open", "tiny.Box.open()", "open(force=False)", "", "tiny_lib"),
    Passage(
        "tiny_lib.guide.boxes#tiny.Box.size",
        "tiny.Box.size",
        "property size: int",
        "Edge length.",
        "tiny_lib",
    ),
    Passage(
        "tiny_lib.index#c.tiny_open", "tiny_open()", "int tiny_open(char *name)", "Opens from C.", "tiny_lib"
    ),
    Passage("tiny_lib.index#module-tiny", "tiny", "", "The smallest library.", "tiny_lib"),
    Passage("tiny_lib.index#tiny.LIMIT", "tiny.LIMIT", "tiny.LIMIT", "", "tiny_lib"),
    Passage(
        "tiny_lib.index#tiny.join",
        "tiny.join()",
        "tiny.join(a, *parts, sep='/') → str",
        "Join parts.",
        "tiny_lib",
    ),
]


@pytest.fixture(scope="module", params=["html", "dirhtml"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of Sphinx for two pages, by each of its builders."""
    source = tmp_path_factory.mktemp("source")
    (source / "guide").mkdir()
    (source / "conf.py").write_text(CONFIGURATION)
    (source / "index.rst").write_text(INDEX)
    (source / "guide" / "Boxes.rst").write_text(BOXES)
    target = source / "built"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", request.param, str(source), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def read(path: Path) -> list[Passage]:
    return list(read_passages(Passages(source="sphinx", path=str(path))))


def test_sphinx_output_is_read_by_its_inventory(built: Path) -> None:
    passages = [(passage.id.replace("boxes.index#", "boxes#"), passage) for passage in read(built)]
    assert [identifier for identifier, _ in passages] == [passage.id for passage in EXPECTED]
    for (_, passage), expected in zip(passages, EXPECTED, strict=True):
        assert (passage.name, passage.signature) == (expected.name, expected.signature)
        assert (passage.text, passage.library) == (expected.text, expected.library)
    [attribution] = attributions(Passages(source="sphinx", path=str(built)))
    assert attribution == Attribution("Tiny Lib", "1.2", "©2026, Somebody.", "")
    assert read(built.parent) == read(built)


def test_without_an_inventory_the_pages_say_what_they_define(built: Path, tmp_path: Path) -> None:
    inventory = (built / "objects.inv").rename(tmp_path / "objects.inv")
    try:
        passages = read(built)
    finally:
        inventory.rename(built / "objects.inv")
    names = ["tiny.Box", "tiny.Box.open()", "tiny.Box.size", "tiny.join()", "tiny.LIMIT", "c.tiny_open()"]
    assert [passage.name for passage in passages] == names
    assert passages[0].text == "Holds things."
    assert passages[3].library == "tiny"


def inventory(path: Path, *lines: str, header: str = "# Sphinx inventory version 2") -> Path:
    head = f"{header}\n# Project: X-Y\n# Version: \n# The remainder of this file is compressed using zlib.\n"
    path.write_bytes(head.encode() + zlib.compress("\n".join(lines).encode()))
    return path


def test_an_inventory_names_definitions_alone(tmp_path: Path) -> None:
    entries = read_inventory(
        inventory(
            tmp_path / "objects.inv",
            "x.f py:function 1 a%20b.html#$ -",
            "operator new cpp:function 1 c/#_CPPv4nw -",
            "x.f.a c:functionParam 1 a.html#x -",
            "label std:label -1 a.html#l A label",
            "page py:module 0 a.html -",
            "no line",
        )
    )
    assert (entries.library, entries.version) == ("x_y", "")
    assert entries.entries == [("x.f()", "a b.html", "x.f"), ("operator new()", "c/index.html", "_CPPv4nw")]


def test_malformed_documentation_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DatasetError, match=r"holds neither objects\.inv nor a page with definitions"):
        read(tmp_path)
    path = inventory(
        tmp_path / "objects.inv", "f py:function 1 a.html#$ -", header="# Sphinx inventory version 1"
    )
    with pytest.raises(DatasetError, match=r"objects\.inv: is no inventory of Sphinx, version 2"):
        read(tmp_path)
    inventory(path, "index std:doc -1 index.html X")
    with pytest.raises(DatasetError, match=r"objects\.inv: lists no definitions"):
        read(tmp_path)
    path.write_bytes(inventory(path, "f py:function 1 a.html#$ -").read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"objects\.inv: is damaged"):
        read(tmp_path)
    inventory(path, "f py:function 1 a.html#$ -", "g py:function 1 ../a.html#$ -")
    with pytest.raises(DatasetError, match=r"objects\.inv: none of its 2 definitions is in the pages"):
        read(tmp_path)
    (tmp_path / "a.html").write_bytes(b"<dl class='py'><dt id=f>f(\xff)<dd><p>Words.</p></dl>")
    with caplog.at_level(logging.WARNING):
        assert [passage.signature for passage in read(tmp_path)] == ["f(\ufffd)"]
    assert caplog.messages == [f"{tmp_path}: 1 of 2 definitions are in no page: skipped"]
