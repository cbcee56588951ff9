"""Settings come from the environment, then from `.env`, and say which variable is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.core.errors import ServiceError
from storage.settings import load_settings


def test_defaults_lie_in_the_working_directory(tmp_path: Path) -> None:
    settings = load_settings()
    home = tmp_path / ".starmill"
    assert settings.root == home
    assert settings.database == f"sqlite:///{home / 'ledger.db'}"
    assert settings.milvus == str(home / "milvus.db")
    assert settings.broker == "redis://127.0.0.1:6379/0"
    assert (settings.log_level, settings.log_format, settings.queue_window) == ("INFO", "text", 256)


def test_environment_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["STARMILL_LOG_LEVEL=DEBUG", "STARMILL_REDIS_URL=redis://file/1", "STARMILL_UNKNOWN=1", "OTHER=2"]
    (tmp_path / ".env").write_text("\n".join(lines))
    monkeypatch.setenv("STARMILL_REDIS_URL", "redis://environment/2")
    settings = load_settings()
    assert (settings.log_level, settings.broker) == ("DEBUG", "redis://environment/2")


def test_urls_replace_what_lies_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STARMILL_DATABASE_URL", "postgresql://host/db")
    monkeypatch.setenv("STARMILL_MILVUS_URI", "http://milvus:19530")
    settings = load_settings()
    assert (settings.root, settings.database) == (tmp_path / "home", "postgresql://host/db")
    assert settings.milvus == "http://milvus:19530"


def test_home_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STARMILL_HOME", "~/mill")
    assert load_settings().root == tmp_path / "mill"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LOG_LEVEL", "LOUD", "Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOG_FORMAT", "xml", "Input should be 'text' or 'json'"),
        ("QUEUE_WINDOW", "0", "Input should be greater than or equal to 1"),
        ("QUEUE_WINDOW", "many", "Input should be a valid integer"),
        ("LEASE_SECONDS", "0.5", "Input should be greater than or equal to 1"),
    ],
)
def test_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"STARMILL_{name}", value)
    with pytest.raises(ServiceError) as error:
        load_settings()
    assert str(error.value).startswith(f"STARMILL_{name}={value}: {says}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_lease_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv("STARMILL_LEASE_SECONDS", seconds)
    with pytest.raises(ServiceError, match=r"STARMILL_LEASE_SECONDS=.*: Input should be"):
        load_settings()


def test_the_token_of_a_gateway_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_GATEWAY_URL", "http://:a-token@127.0.0.1:8081")
    settings = load_settings()
    assert settings.gateway_url is not None
    assert settings.gateway_url.get_secret_value() == "http://:a-token@127.0.0.1:8081"
    assert "a-token" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_a_webhook_is_an_http_address_that_no_error_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARMILL_WEBHOOK_URL", "file:///hooks/s3cret")
    with pytest.raises(ServiceError, match=r"^STARMILL_WEBHOOK_URL: .* begins with http") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)
