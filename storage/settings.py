"""Settings of this machine: addresses, paths, limits. Options that change results are in the experiment."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.core.errors import ServiceError
from models.core.experiment.key_hosts import KeyHosts, parse_key_hosts


class Settings(BaseSettings):
    """Read from `STARMILL_*` in the environment, then from `.env` in the working directory."""

    model_config = SettingsConfigDict(env_prefix="STARMILL_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path(".starmill"), description="folder of the embedded databases, indexes and logs")
    redis_url: str | None = Field(
        None, description="broker; unset, `--local` starts one and workers take `redis://127.0.0.1:6379/0`"
    )
    database_url: str | None = Field(
        None, description="ledger: `sqlite:///FILE` or `postgresql://...`; default: SQLite in HOME"
    )
    milvus_uri: str | None = Field(
        None, description="passages: a server, or a file for Milvus Lite; default: a file in HOME"
    )
    embedded_url: str | None = Field(None, description="server of the embedded model; `--local` starts one")
    gateway_url: SecretStr | None = Field(
        None, description="gateway of model calls, such as `http://:TOKEN@127.0.0.1:8081`"
    )
    dashboard_password: SecretStr | None = Field(
        None, description="password of Flower, run page and metrics; default: a new one at each start"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    log_format: Literal["text", "json"] = Field("text", description="one line of text or one JSON object")
    lease_seconds: float = Field(
        20.0, ge=1, allow_inf_nan=False, description="how long a silent worker keeps its units"
    )
    webhook_url: SecretStr | None = Field(
        None, description="gets JSON when a run ends, pauses or stands still"
    )
    webhook_standstill_minutes: float = Field(
        15.0, gt=0, allow_inf_nan=False, description="how long nothing may end before a run stands still"
    )
    tracker: Literal["wandb", "trackio"] | None = Field(
        None, description="gets settings, tables and cost of a run at its end"
    )
    queue_window: int = Field(256, ge=1, description="most units that wait in one Redis queue")

    key_hosts: str | None = Field(
        None,
        description="hosts that may get a key: `OPENAI_API_KEY=api.openai.com,*.azure.com;MY_KEY=my.host`; "
        "default: where a model names it",
    )

    @field_validator("home")
    @classmethod
    def _is_a_place(cls, home: Path) -> Path:
        try:
            home.expanduser().resolve()
        except RuntimeError:
            raise ValueError("~ names no user of this machine that has a home") from None
        except FileNotFoundError:
            raise ValueError("the current folder was deleted; go to another") from None
        return home

    @field_validator("key_hosts")
    @classmethod
    def _are_hosts(cls, text: str | None) -> str | None:
        parse_key_hosts(text or "")
        return text

    @field_validator("webhook_url")
    @classmethod
    def _is_http(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("give an address that begins with http:// or https://")
        return url

    @cached_property
    def root(self) -> Path:
        return self.home.expanduser().resolve()

    @property
    def allowed_hosts(self) -> KeyHosts:
        return parse_key_hosts(self.key_hosts or "")

    @property
    def broker(self) -> str:
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def milvus(self) -> str:
        return self.milvus_uri or str(self.root / "milvus.db")


def load_settings() -> Settings:
    """Return the settings of this process. Raise ServiceError that names the wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "STARMILL_" + "_".join(str(part) for part in first["loc"]).upper()
        is_secret = SecretStr in get_args(Settings.model_fields[str(first["loc"][0])].annotation)
        value = "" if is_secret else f"={os.environ.get(name, '')}"
        message = first["msg"].removeprefix("Value error, ")
        raise ServiceError(f"{name}{value}: {message}") from None
