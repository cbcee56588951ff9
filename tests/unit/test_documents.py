"""Passages from files and from installed packages."""

from __future__ import annotations

import gzip
import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from models.core.errors import DatasetError, UsageError
from models.core.experiment.passages import Passages
from models.core.types import Passage
from producer.corpus import TEXT_LIMIT, attributions, read_jsonl_passages, read_passages
from producer.corpus.attribution import Attribution
from producer.corpus.inspection import split_documentation
from producer.corpus.installed import read_installed

ROW = {
    "id": "python.library.os#os.getcwd",
    "name": "os.getcwd()",
    "signature": "getcwd()",
    "text": "Where we are.",
}
STRANGE = '''
"""A package that does everything a package should not do."""
import os, sys, warnings
print("out"); print("err", file=sys.stderr); os.write(1, b"raw"); warnings.warn("old")

class Hostile:
    def __getattribute__(self, name):
        raise RuntimeError(name)

hostile = Hostile()

def useful(token=os.environ.get("STRANGE_TOKEN"), where="/etc", marker=object(), places=("a", 2), empty={}):
    """Does the one useful thing.

    Never read.
    """

def _private():
    """Nobody asked."""

class Tool:
    """A tool."""

    def use(self):
        """Use it."""

    @property
    def edge(self):
        """How sharp it is."""

    def undocumented(self): ...
'''


def write_lines(path: Path, *lines: str | bytes) -> Path:
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.jsonl.gz"])
def test_jsonl_reads_plain_and_compressed(tmp_path: Path, name: str) -> None:
    path = write_lines(
        tmp_path / name, json.dumps(ROW | {"url": "u"}), "", json.dumps({"id": "a.b", "text": "t"})
    )
    assert list(read_jsonl_passages(path)) == [
        Passage(**ROW, library="python"),
        Passage("a.b", "a.b", "", "t", "a"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "needs an object, found list"),
        ('{"id": "a"}', "text is missing"),
        ('{"id": "a", "text": null}', "text needs a string, found NoneType"),
        ('{"id": 7, "text": ""}', "id needs a string, found int"),
        ('{"id": " ", "text": ""}', "id is empty"),
        (r'{"id": "\u0000", "text": ""}', "id is empty"),
        (b'{"id": "\xff"}', "not UTF-8"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, line: str | bytes, reason: str) -> None:
    path = write_lines(tmp_path / "docs.jsonl", json.dumps(ROW), line)
    with pytest.raises(DatasetError) as error:
        list(read_jsonl_passages(path))
    assert f"{path}:2: {reason}" in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.jsonl: no such file"):
        list(read_jsonl_passages(tmp_path / "absent.jsonl"))
    cut = write_lines(tmp_path / "cut.jsonl.gz", json.dumps(ROW))
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"cut\.jsonl\.gz:\d: cannot be read"):
        list(read_jsonl_passages(cut))


def test_passages_are_cleaned_and_each_content_comes_once(tmp_path: Path) -> None:
    long = ROW | {"text": "x" * 1_000_000}
    nulls = ROW | {"text": "a\0b", "name": "n\ud800"}
    rows = [ROW, ROW, ROW | {"text": "another"}, long, nulls]
    path = write_lines(tmp_path / "docs.jsonl", *map(json.dumps, rows))
    texts = [passage.text for passage in read_passages(Passages(source="jsonl", path=str(path)))]
    assert texts == ["Where we are.", "another", "x" * TEXT_LIMIT, "ab"]
    names = [passage.name for passage in read_passages(Passages(source="jsonl", path=str(path)))]
    assert names[-1] == "n?"


def test_empty_corpus_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", "")
    with pytest.raises(UsageError, match=r"docs\.jsonl holds no documentation"):
        list(read_passages(Passages(source="jsonl", path=str(path))))


def test_reference_passages_are_read_whole(reference_data: Path) -> None:
    path = reference_data / "docs" / "python_docs_firstpara.jsonl.gz"
    passages = list(read_passages(Passages(source="jsonl", path=str(path))))
    assert len(passages) == 35_730
    assert {"python", "numpy", "pandas"} <= {passage.library for passage in passages}


@pytest.mark.parametrize(
    ("documentation", "expected"),
    [
        ("Do it.\n\nMore.", ("", "Do it.")),
        ("Do it\n  twice.", ("", "Do it twice.")),
        ("f(a[, b]) -> int\n\nDo it.", ("a[, b]", "Do it.")),
        ("f(a) -> int\nf(a, b) -> int\n\nDo it.", ("a", "Do it.")),
        ("f(a,\n  b=None)\n\nDo it.", ("a, b=None", "Do it.")),
        ("m.f(a)\nDo it.", ("a", "Do it.")),
        ("f() -> x in [0, 1).", ("", "f() -> x in [0, 1).")),
        ("f(a, b)", ("a, b", "")),
        (
            "f() -> a new f\nf(x) -> an f from x's\n   pairs",
            ("", "f() -> a new f f(x) -> an f from x's pairs"),
        ),
    ],
)
def test_first_paragraph_without_signature_lines(documentation: str, expected: tuple[str, str]) -> None:
    assert split_documentation(documentation, "f") == expected


def test_standard_library_under_the_names_people_import() -> None:
    passages = list(read_installed(["stdlib"]))
    by_id = {passage.id: passage for passage in passages}
    assert len(passages) == len(by_id) > 5_000
    assert list(by_id) == sorted(by_id)
    expected = ["os.path.join", "str.join", "len", "open", "OSError", "type", "random.random", "json.dumps"]
    expected += ["bisect.bisect_right", "socket.socket.bind", "sqlite3.connect", "datetime.datetime.now"]
    assert [name for name in expected if name not in by_id] == []
    aliases = [
        "posixpath.join",
        "genericpath.exists",
        "io.open",
        "IOError",
        "asyncio.runners.run",
        "antigravity",
    ]
    assert [name for name in aliases if name in by_id] == []
    assert by_id["os.path.join"].signature == "os.path.join(a, *p)"
    assert by_id["os.path.join"].text.startswith("Join two or more pathname components")
    assert {passage.library for passage in passages} == {"python"}
    assert [passage.id for passage in passages if " at 0x" in passage.signature + passage.text] == []


def test_strange_package_neither_breaks_nor_speaks_nor_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "__init__.py").write_text(STRANGE)
    (tmp_path / "strange" / "leaves.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "strange" / "raises.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("STRANGE_TOKEN", "secret")
    passages = list(read_installed(["strange", "strange"]))
    signature = "strange.useful(token=None, where=..., marker=..., places=('a', 2), empty={})"
    assert passages == [
        Passage("strange.Tool", "strange.Tool", "strange.Tool()", "A tool.", "strange"),
        Passage("strange.Tool.edge", "strange.Tool.edge", "strange.Tool.edge", "How sharp it is.", "strange"),
        Passage("strange.Tool.use", "strange.Tool.use", "strange.Tool.use(self)", "Use it.", "strange"),
        Passage("strange.useful", "strange.useful", signature, "Does the one useful thing.", "strange"),
    ]
    assert capfd.readouterr() == ("", "")


def test_installed_packages_state_version_and_licence() -> None:
    noted = attributions(Passages(packages=["json", "numpy.linalg", "yaml"]))
    assert [each.documentation for each in noted] == ["PyYAML", "numpy", "python"]
    assert [each.version for each in noted] == [
        version("PyYAML"),
        version("numpy"),
        platform.python_version(),
    ]
    assert all(each.notice and each.url.startswith("https://") for each in noted)
    assert str(noted[0]) == f"PyYAML {noted[0].version}: MIT {noted[0].url}"
    [nothing] = attributions(Passages(packages=["no_such_thing", "os"]))
    assert nothing.documentation == "python"


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[]", "must be a JSON object"), ('{"x": 7}', "x needs a string"), ("{", ":1: is not JSON")],
)
def test_notices_beside_a_file_are_read(tmp_path: Path, content: str, reason: str) -> None:
    config = Passages(source="jsonl", path=str(write_lines(tmp_path / "docs.jsonl", json.dumps(ROW))))
    assert attributions(config) == []
    (tmp_path / "attribution.json").write_text('{"b~2": "two\\n words", "a": "one"}')
    assert attributions(config) == [Attribution("a", "", "one", ""), Attribution("b~2", "2", "two words", "")]
    (tmp_path / "attribution.json").write_text(content)
    with pytest.raises(DatasetError, match=f"attribution.json.*{reason}"):
        attributions(config)


def test_package_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"passages\.packages: no_such_thing cannot be imported; install it"):
        list(read_installed(["json", "no_such_thing"]))
    (tmp_path / "crashing.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"reading crashing ended with exit code -6"):
        list(read_installed(["crashing"]))
