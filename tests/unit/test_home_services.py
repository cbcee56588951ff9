"""A worker finds the services of a local run of its home, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.local.home_services import home_services
from producer.local.redis_config import write_config
from producer.local.services import model_service
from storage.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The files of a local run that goes on, with the embedded model."""
    write_config(tmp_path / "local", 7777, "word")
    command = " ".join(model_service(tmp_path)[0].command)
    (tmp_path / "local" / "pids").write_text(f"1\t1\tredis\n2\t2\t{command}\n")
    return tmp_path


def settings(home: Path, **given: str) -> Settings:
    return Settings(home=home, _env_file=None, **given)  # type: ignore[call-arg]


def test_services_of_a_local_run_are_used(home: Path) -> None:
    used = home_services(settings(home))
    assert used.broker == "redis://:word@127.0.0.1:7777/0"
    assert used.embedded_url is not None
    assert used.embedded_url.removeprefix("http://127.0.0.1:").removesuffix("/v1").isdigit()


def test_urls_that_are_set_win(home: Path) -> None:
    given = {"redis_url": "redis://there/0", "embedded_url": "http://there/v1"}
    assert home_services(settings(home, **given)) == settings(home, **given)


def test_local_run_that_has_ended_leaves_no_services(home: Path) -> None:
    (home / "local" / "pids").unlink()
    assert home_services(settings(home)) == settings(home)
