"""Rows are pushed by the real client of the Hugging Face Hub to a local server that speaks its API."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from storage.database import Database
from tests.support.chores import read_jsonl
from tests.support.command_line import starmill
from tests.support.hub_server import TOKEN, USER, HubServer, running_hub
from tests.support.ledger_data import finish_train, plan_mixed
from tests.support.services import closed_port


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with running_hub() as server:
        yield server


def push(
    name: str, url: str, *options: str, token: str = TOKEN, run: str = "small-1"
) -> tuple[int, list[str]]:
    """Return the exit code of `export --push NAME` and the lines that it prints.

    The client reads the environment when it is imported, so that each push is a process of its own.
    """
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HOME": str(Path("hf").absolute()),
    }  # fmt: skip
    command = [sys.executable, "-m", "starmill", "export", run, "--push", name, *options]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout == ""
    assert TOKEN not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()


def test_a_dataset_is_pushed_with_its_card_and_replaces_the_one_before(db: Database, hub: HubServer) -> None:
    finish_train(plan_mixed(db))
    code, lines = push("set", hub.url, "--split", "train=0.5,test=0.5")
    assert (code, lines[0], lines[-1]) == (
        0, "wrote 4 rows", f"pushed to {hub.url}/datasets/{USER}/set",
    )  # fmt: skip
    files = hub.datasets[f"{USER}/set"]
    assert f"{USER}/set" in hub.private
    pushed = [f"data/{name}-00000-of-00001.parquet" for name in ("test", "train")]
    assert sorted(files) == [".gitattributes", "README.md", *pushed]
    code, lines = push(f"{USER}/set", hub.url, "-o", "kept", "--only", "accepted")
    assert (code, lines[0]) == (0, "wrote 2 rows to kept")
    assert sorted(files) == [".gitattributes", "README.md", "data/train-00000-of-00001.parquet"]
    assert b"- run: small-1 of experiment small" in files["README.md"]
    for name in ("README.md", "data/train-00000-of-00001.parquet"):
        assert files[name] == Path("kept", name).read_bytes()
    assert starmill("export", "small", "--only", "accepted", "-o", "rows.jsonl") == 0
    table = parquet.read_table("kept/data/train-00000-of-00001.parquet")
    assert table.to_pylist() == read_jsonl(Path("rows.jsonl"))
    plan_mixed(db, "small-2", seed=1)
    code, lines = push("set", hub.url, run="small-2")
    assert (code, lines[-1]) == (2, "starmill: --push set: there is nothing to push")
    assert hub.commits == 2 * ["Export rows with Starmill"]
    assert list(Path("home").glob(".push-*")) == []


@pytest.mark.parametrize(
    ("name", "token", "says"),
    [
        ("set", "hf_other", "refuses it: HF_TOKEN is not known there, or has expired"),
        ("others/set", TOKEN, "refuses it: HF_TOKEN may not write it"),
    ],
)
def test_one_line_says_why_the_server_refuses(
    db: Database, hub: HubServer, name: str, token: str, says: str
) -> None:
    plan_mixed(db)
    code, [line] = push(name, hub.url, token=token)
    assert code == 2
    assert says in line
    assert hub.datasets == {}


def test_a_server_that_is_away_costs_one_line(db: Database) -> None:
    plan_mixed(db)
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}"
        code, [line] = push("set", url)
    assert code == 2
    assert line.startswith(f"starmill: --push set: {url} cannot be used: ")


@pytest.mark.parametrize(
    ("options", "token", "says"),
    [
        ([], TOKEN, "give -o PATH, or --push NAME"),
        (["--push", "set", "--format", "jsonl"], TOKEN, "--push uploads the folder of --format hf"),
        (["--push", "set", "--what", "generations"], TOKEN, "has no columns for generations"),
        (["--push", "set"], "", "needs a token of the Hub that may write: set HF_TOKEN"),
        (["--push", "no such name!"], TOKEN, "is no name; give NAME or USER/NAME"),
        (["--push", ""], "", "--push '' is no name"),
    ],
)
def test_what_cannot_be_pushed_asks_no_server(
    db: Database,
    hub: HubServer,
    options: list[str],
    token: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    plan_mixed(db)
    assert starmill("export", "small", *options) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert hub.datasets == {}
