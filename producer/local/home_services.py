"""Find the services that a local run of this home has started, and say how another worker joins it."""

from __future__ import annotations

import os
import re
import shlex

from models.core.experiment.experiment import Experiment
from producer.local.redis_config import local_redis
from storage.settings import Settings

SERVICES = ("redis_url", "database_url", "milvus_uri", "embedded_url", "gateway_url")
MODEL_PORT = re.compile(r"models\.adapters\.backends\.llamacpp --port (\d+)")


def home_services(settings: Settings) -> Settings:
    """Return settings with the URLs of the Redis and the embedded model of a local run that goes on, where
    none are set."""
    try:
        processes = (settings.root / "local" / "pids").read_text("utf-8")
    except OSError:
        return settings
    port = MODEL_PORT.search(processes)
    embedded_url = f"http://127.0.0.1:{port[1]}/v1" if port else None
    return settings.model_copy(
        update={
            "redis_url": settings.redis_url or local_redis(settings.root),
            "embedded_url": settings.embedded_url or embedded_url,
        }
    )


def line_for_another_worker(experiment: Experiment, settings: Settings) -> str:
    """Return the command that starts a worker from any terminal, with the names of variables that it needs
    too: their values may hold passwords."""
    given = [f"STARMILL_{name.upper()}" for name in SERVICES if getattr(settings, name)]
    keys = [model.api_key_env for model in experiment.asked if os.environ.get(model.api_key_env)]
    names = ", ".join(dict.fromkeys([*given, *keys]))
    more = f" (with {names} set as here)" if names else ""
    home = shlex.quote(str(settings.root))
    return f"another worker, from any terminal: STARMILL_HOME={home} starmill worker{more}"
