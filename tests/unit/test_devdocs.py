"""Passages from folders as devdocs publishes them: what is malformed is named, what is missing is counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from models.core.errors import DatasetError
from models.core.experiment.passages import Passages
from models.core.types import Passage
from producer.corpus import TEXT_LIMIT, attributions, read_passages
from producer.corpus.attribution import Attribution
from tests.support.devdocs import reference_rows, signature_of, write_folder, write_folders

PAGE = """<h1>functions</h1> <p>What is built in.</p>
<dl><dt id="range"><code>class range(stop)</code></dt><dd><p>A sequence.</p></dd>
<dt id="a/b"><code>a/b</code></dt><dd><p>Slashed.</p></dd></dl>
<div class="_attribution"><p class="_attribution-p">&copy; The authors<br>Licensed under the PSF License.<br>
<a href="https://docs.example/" class="_attribution-link">https://docs.example/</a></p></div>"""
ENTRIES = [
    {"name": "functions", "path": "library/functions", "type": "Basics"},
    {"name": "range", "path": "library/functions#range", "type": None},
    {"name": "range (class)", "path": "library/functions#range"},
    {"name": "a/b", "path": "library/functions#a%2Fb"},
]
PAGES = {"library/functions": PAGE}
META = {
    "slug": "python~3.9",
    "version": "3.9",
    "release": "3.9.14",
    "links": {"home": "https://www.python.org/"},
    "attribution": "&copy; 2001&ndash;2022 PSF<br>Licensed under the <b>PSF</b> License.",
}
RANGE = Passage("python.library.functions#range", "range", "class range(stop)", "A sequence.", "python")


def read(path: Path) -> list[Passage]:
    return list(read_passages(Passages(source="devdocs", path=str(path))))


def attributions_in(path: Path) -> list[Attribution]:
    return attributions(Passages(source="devdocs", path=str(path)))


def test_each_entry_of_the_index_is_a_passage_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "python~3.9", ENTRIES, PAGES)
    expected = [
        Passage("python.library.functions", "functions", "", "What is built in.", "python"),
        RANGE,
        Passage("python.library.functions#a%2Fb", "a/b", "a/b", "Slashed.", "python"),
    ]
    assert read(tmp_path) == read(tmp_path / "python~3.9") == expected


def test_pages_may_be_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "docs" / "scikit_learn", ENTRIES[1:2], {})
    (folder / "db.json").unlink()
    (folder / "library").mkdir()
    (folder / "library" / "functions.html").write_text(PAGE)
    [passage] = read(folder.parent)
    assert (passage.id, passage.library) == ("sklearn.library.functions#range", "sklearn")


def test_a_path_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.html").write_text(PAGE)
    folder = write_folder(tmp_path / "x", [{"name": "s", "path": "../secret#range"}], {})
    (folder / "db.json").unlink()
    with pytest.raises(DatasetError, match="none of its 1 entries has a page here"):
        read(folder)


def test_libraries_bear_the_name_that_is_imported(tmp_path: Path) -> None:
    for slug in ("pytorch~2.9", "scikit_image", "Python~3.14", "numpy~2.3"):
        write_folder(tmp_path / slug, ENTRIES[1:2], PAGES)
    (tmp_path / ".numpy~9.part").mkdir()
    (tmp_path / "unrelated").mkdir()
    assert [passage.library for passage in read(tmp_path)] == ["python", "numpy", "torch", "skimage"]


def test_two_versions_are_two_passages_where_they_differ(tmp_path: Path) -> None:
    write_folder(tmp_path / "python~3.8", ENTRIES, PAGES)
    write_folder(
        tmp_path / "python~3.9", ENTRIES, {"library/functions": PAGE.replace("A sequence", "Numbers")}
    )
    texts = [passage.text for passage in read(tmp_path) if passage.id == RANGE.id]
    assert texts == ["A sequence.", "Numbers."]
    assert len(read(tmp_path)) == 4


def test_missing_pages_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost = [{"name": "x", "path": "library/lost"}, {"name": "y", "path": "library/functions#lost"}]
    write_folder(tmp_path / "python~3.9", [*lost, ENTRIES[1]], PAGES)
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path) == [RANGE]
    assert caplog.messages == ["python~3.9: 2 of 3 entries have no page or fragment: skipped"]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("index.json", "{", r"index.json:1: is not JSON: .* at column 2"),
        ("index.json", b"\xff", r"index.json: is not UTF-8"),
        ("index.json", "[]", r"index.json: must be a JSON object, found list"),
        ("index.json", "{}", r"index.json: lists no entries; it is no index of devdocs"),
        ("index.json", '{"entries": []}', r"index.json: lists no entries"),
        ("index.json", '{"entries": ["x"]}', r"index.json: entry 1 must be an object, found str"),
        ("index.json", '{"entries": [{"name": "x"}]}', r"index.json: entry 1 has no path"),
        ("index.json", '{"entries": [{"path": "x", "name": 7}]}', r"index.json: entry 1 has no name"),
        ("index.json", None, r"index.json: no such file beside db.json; fetch both again"),
        (
            "db.json",
            "{}",
            r"index.json: none of its 4 entries has a page here; fetch the documentation again",
        ),
        ("db.json", '{"library/functions": "<p>', r"db.json:1: is not JSON"),
        ("db.json", '{"library/functions": 7}', r"db.json: library/functions needs a string, found int"),
        ("db.json", b'{"library/functions": "\xff"}', r"db.json: is not UTF-8"),
        ("db.json", "[" * 100_000, r"db.json: is not JSON that can be read"),
        ("meta.json", "7", r"meta.json: must be a JSON object, found int"),
    ],
)
def test_malformed_documentation_is_named_in_one_line(
    tmp_path: Path, file: str, content: Any, reason: str
) -> None:
    folder = write_folder(tmp_path / "python~3.9", ENTRIES, PAGES)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    for path in (tmp_path, folder):
        with pytest.raises(DatasetError, match=reason) as error:
            read(path)
        assert "\n" not in str(error.value)
        assert str(folder) in str(error.value)


def test_hostile_pages_become_passages_that_databases_accept(tmp_path: Path) -> None:
    page = f"<dl><dt id='f'>f(\0\ud800)</dt><dd><p>{'word ' * 200_000}</p></dd></dl>"
    write_folder(tmp_path / "x", [{"name": "f\0\ud800", "path": "p#f"}], {"p": page})
    [passage] = read(tmp_path)
    assert passage.name == "f?"
    assert passage.signature.startswith("f(")
    assert "\0" not in passage.signature
    assert len(passage.text) == TEXT_LIMIT
    passage.key.encode()


def test_a_folder_without_documentation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"neither it nor a folder in it holds index\.json; `starmill data"
    ):
        read(tmp_path)
    with pytest.raises(DatasetError, match=r"absent: no such folder; check passages\.path"):
        read(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="file: is a file; give its folder"):
        read(tmp_path / "file")


def test_a_documentation_says_whose_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path / "python~3.9", ENTRIES, PAGES, **META)
    write_folder(tmp_path / "numpy~2.3", ENTRIES, PAGES)
    write_folder(tmp_path / "silent", ENTRIES, {"library/functions": "<p>"})
    numpy = "© The authors Licensed under the PSF License."
    python = "© 2001–2022 PSF Licensed under the PSF License."
    assert attributions_in(tmp_path) == [
        Attribution("numpy~2.3", "2.3", numpy, "https://docs.example/"),
        Attribution("python~3.9", "3.9.14", python, "https://www.python.org/"),
        Attribution("silent", "", "", ""),
    ]


def test_round_trip_of_the_reference_passages(tmp_path: Path, reference_data: Path) -> None:
    rows = [row for row in reference_rows(reference_data) if hash_of(row["id"]) % 8 == 0]
    assert len(rows) > 4_000
    write_folders(rows, tmp_path)
    passages = {passage.id: passage for passage in read(tmp_path)}
    assert set(passages) == {row["id"] for row in rows}
    for row in rows:
        passage = passages[row["id"]]
        expected = (row["name"], signature_of(row), " ".join(row["text"].split()))
        assert (passage.name, passage.signature, passage.text) == expected


def hash_of(identifier: str) -> int:
    """Return the hash of a page, so that its passages are shown together."""
    return sum(json.dumps(identifier.partition("#")[0]).encode())
