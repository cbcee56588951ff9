"""Settings of this machine: addresses, paths, limits. Options that change results are in the experiment."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.core.errors import ServiceError


class Settings(BaseSettings):
    """Read from `STARMILL_*` in the environment, then from `.env` in the working directory."""

    model_config = SettingsConfigDict(env_prefix="STARMILL_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path(".starmill"), description="folder of the embedded databases, indexes and logs")
    redis_url: str | None = Field(None, description="broker; `starmill run --local` starts one when unset")
    database_url: str | None = Field(None, description="ledger; default SQLite in HOME")
    milvus_uri: str | None = Field(None, description="passages; default Milvus Lite in HOME")
    embedded_url: str | None = Field(None, description="server of the embedded model; `--local` starts one")
    gateway_url: SecretStr | None = Field(None, description="gateway of model calls, with its token")
    dashboard_password: SecretStr | None = Field(None, description="password of Flower and of the run page")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    log_format: Literal["text", "json"] = Field("text", description="one line of text or one JSON object")
    lease_seconds: float = Field(
        20.0, ge=1, allow_inf_nan=False, description="how long a silent worker keeps its units"
    )
    queue_window: int = Field(256, ge=1, description="most units that wait in one Redis queue")

    @cached_property
    def root(self) -> Path:
        return self.home.expanduser().resolve()

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
        raise ServiceError(f"{name}={os.environ.get(name, '')!s}: {first['msg']}") from None
