"""`starmill data` against a real server that breaks connections, lies about sizes and goes away."""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.core.experiment.passages import Passages
from producer.corpus import read_passages
from tests.support.command_line import command_line, starmill
from tests.support.mirror import Mirror, serving

ENTRIES = [{"name": "len()", "path": "library/functions#len", "type": "Built-in"}]
# Longer than what a socket buffers, so that a cut is in the middle.
FILLING = "<p>filling</p>" * 100_000
PAGES = {"library/functions": f"<dl><dt id='len'>len(s)</dt><dd><p>Length.</p></dd></dl>{FILLING}"}
DB = "/python~3.14/db.json"


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serving() as server:
        server.publish(
            "python~3.14", ENTRIES, PAGES, version="3.14", attribution="&copy; PSF<br>PSF License."
        )
        server.publish("python~3.13", ENTRIES, PAGES)
        server.publish("numpy~2.3", ENTRIES, PAGES)
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with command_line(tmp_path, monkeypatch):
        yield tmp_path / "docs"


def fetch(mirror: Mirror, folder: Path, *slugs: str) -> int:
    return starmill(
        "data", "fetch", "devdocs", *(slugs or ["python~3.14"]), "--from", mirror.url, "-o", str(folder)
    )


def test_fetched_documentation_is_read_listed_and_checked(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(mirror, folder, "python~3.14", "numpy~2.3", "numpy~2.3") == 0
    assert "python~3.14: fetched" in capsys.readouterr().err
    passages = list(read_passages(Passages(source="devdocs", path=str(folder))))
    assert [passage.id for passage in passages] == [
        "numpy.library.functions#len",
        "python.library.functions#len",
    ]
    assert starmill("data", "list", str(folder), "--json") == 0
    [numpy, python] = json.loads(capsys.readouterr().out)["documentations"]
    assert (numpy["documentation"], numpy["version"], numpy["notice"]) == ("numpy~2.3", "2.3", "")
    assert python == {
        "documentation": "python~3.14", "library": "python", "version": "3.14", "entries": 1,
        "bytes": len(mirror.files[DB]), "state": "whole", "notice": "© PSF PSF License.", "url": "",
    }  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "numpy~2.3", "python~3.14"]
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        subprocess.run(command, cwd=folder / "python~3.14", check=True)


def test_a_broken_connection_is_resumed(mirror: Mirror, folder: Path) -> None:
    mirror.cuts[DB] = [500_000, 400_000]
    assert fetch(mirror, folder) == 0
    assert mirror.sent[DB] == len(mirror.files[DB])
    assert [asked for asked in mirror.ranges if asked] == ["bytes=500000-", "bytes=900000-"]
    assert (folder / "python~3.14" / "db.json").read_bytes() == mirror.files[DB]


def test_later_fetch_resumes(mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror.cuts[DB] = [600_000, 0, 0, 0, 0, 0]
    assert fetch(mirror, folder) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"starmill: {mirror.url}{DB}?1: the connection broke; the same command goes on")
    assert stderr.count("\n") == 1
    assert not (folder / "python~3.14").exists()
    mirror.cuts.clear()
    assert fetch(mirror, folder) == 0
    assert mirror.sent[DB] == len(mirror.files[DB])
    assert mirror.sent["/python~3.14/index.json"] == len(mirror.files["/python~3.14/index.json"])


def test_a_server_without_ranges_is_read_from_the_start(mirror: Mirror, folder: Path) -> None:
    mirror.cuts[DB] = [500_000]
    mirror.ignores_ranges = True
    assert fetch(mirror, folder) == 0
    assert mirror.sent[DB] == len(mirror.files[DB]) + 500_000
    assert (folder / "python~3.14" / "db.json").read_bytes() == mirror.files[DB]


def test_a_body_of_unknown_length_is_read(mirror: Mirror, folder: Path) -> None:
    mirror.chunked = True
    assert fetch(mirror, folder) == 0
    assert (folder / "python~3.14" / "db.json").read_bytes() == mirror.files[DB]


def test_a_busy_server_is_asked_again_and_given_up_in_the_end(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.refusals.update({"/docs.json": 2, DB: 1})
    assert fetch(mirror, folder) == 0
    mirror.refusals["/numpy~2.3/db.json"] = 99
    assert fetch(mirror, folder, "numpy~2.3") == 2
    assert "numpy~2.3/db.json?1: the server answers 503;" in capsys.readouterr().err


def test_a_server_that_never_gets_further_is_given_up(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.ignores_ranges = True
    mirror.cuts[DB] = [1_000] * 99
    assert fetch(mirror, folder) == 2
    assert "the connection broke" in capsys.readouterr().err
    assert len(mirror.cuts[DB]) > 90


def test_current_files_are_kept_and_changed_ones_fetched_again(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(mirror, folder) == 0
    assert fetch(mirror, folder) == 0
    assert "python~3.14: is current" in capsys.readouterr().err
    assert mirror.requests.count(DB) == 1
    (folder / "python~3.14" / "db.json").write_text("{}")
    assert starmill("data", "list", str(folder)) == 0
    assert "changed: db.json" in capsys.readouterr().out
    assert fetch(mirror, folder) == 0
    assert mirror.requests.count(DB) == 2
    mirror.publish("python~3.14", ENTRIES, PAGES | {"new": "<p>"}, mtime=2)
    assert fetch(mirror, folder) == 0
    assert (folder / "python~3.14" / "db.json").read_bytes() == mirror.files[DB]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("change", [b"", b"longer" * 10])
def test_a_wrong_size_is_refused(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str], change: bytes, chunked: bool
) -> None:
    size = len(mirror.files[DB])
    mirror.files[DB] = mirror.files[DB] + change if change else mirror.files[DB][:-10]
    mirror.chunked = chunked
    assert fetch(mirror, folder) == 2
    stderr = capsys.readouterr().err
    assert f"where the catalogue says {size:,}" in stderr
    assert stderr.count("\n") == 1
    assert not (folder / "python~3.14").exists()


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("/docs.json", b"<html>", "/docs.json is no list of documentations; check --from"),
        ("/docs.json", b'[{"slug": "x"}]', "/docs.json is no list of documentations"),
        (
            "/docs.json",
            b'[{"slug": "../x", "mtime": 1, "db_size": 1}]',
            "'../x', which is no name of a folder",
        ),
        ("/docs.json", None, "/docs.json: the server answers 404 Not Found"),
        (DB, None, "db.json?1: the server answers 404 Not Found"),
        ("/python~3.14/index.json", b"{", "index.json?1:1: is not JSON"),
        ("/python~3.14/index.json", b"{}", "index.json?1: lists no entries"),
    ],
)
def test_wrong_reply_of_a_server_is_one_line(
    mirror: Mirror,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    content: bytes | None,
    reason: str,
) -> None:
    if content is None:
        del mirror.files[path]
    else:
        mirror.files[path] = content
    assert fetch(mirror, folder) == 2
    stderr = capsys.readouterr().err
    assert reason in stderr
    assert stderr.count("\n") == 1
    assert not (folder / "python~3.14").exists()


def test_a_broken_file_of_the_right_size_is_not_kept(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = mirror.files[DB]
    mirror.files[DB] = b"x" * len(whole)
    assert fetch(mirror, folder) == 2
    assert "db.json?1:1: is not JSON" in capsys.readouterr().err
    mirror.files[DB] = whole
    assert fetch(mirror, folder) == 0


@pytest.mark.parametrize(
    ("slug", "reason"),
    [
        ("python~3.41", "no documentation python~3.41; did you mean python~3.14"),
        ("pyton~3.14", "no documentation pyton~3.14; did you mean python~3.14"),
        ("python", "did you mean python~3.14 or python~3.13?"),
        ("zzzzzzzz", "no documentation zzzzzzzz; see devdocs.io"),
    ],
)
def test_unknown_slug_names_its_neighbours(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str], slug: str, reason: str
) -> None:
    assert fetch(mirror, folder, "numpy~2.3", slug) == 2
    assert reason in capsys.readouterr().err
    assert not (folder / "numpy~2.3").exists()


def test_missing_network_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Mirror(url=f"http://127.0.0.1:{free.getsockname()[1]}")
        assert fetch(nobody, folder) == 2
    stderr = capsys.readouterr().err
    assert f"{nobody.url}/docs.json: " in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["ftp://x/y", "mirror", "http://", "http://me:secret@127.0.0.1/"])
def test_an_address_that_cannot_be_used_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert fetch(Mirror(url=url), folder) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("starmill: --from ")
    assert "secret" not in stderr


def test_a_folder_that_cannot_be_used_is_named(
    mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_text("a file")
    assert fetch(mirror, folder) == 2
    assert f"{folder}: cannot be written: File exists" in capsys.readouterr().err
    folder.unlink()
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert fetch(mirror, folder) == 2
    assert "another process is fetching into it" in capsys.readouterr().err


def test_a_full_disk_is_one_line(mirror: Mirror, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    staging = folder / ".python~3.14.1.part"
    staging.mkdir(parents=True)
    (staging / "db.json.part").symlink_to("/dev/full")
    assert fetch(mirror, folder) == 2
    stderr = capsys.readouterr().err
    assert "db.json.part: cannot be written: No space left on device" in stderr
    assert stderr.count("\n") == 1


def test_empty_folder_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    assert starmill("data", "list", str(folder)) == 2
    assert "`starmill data fetch devdocs` gets some" in capsys.readouterr().err
    assert starmill("data", "list") == 2
    assert "no such folder" in capsys.readouterr().err
