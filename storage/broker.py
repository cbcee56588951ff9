"""Settings and queues of Celery and Redis.

The settings were measured under kill -9, restarts and long tasks. The ledger repairs what they cannot
prevent.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.exceptions import RedisError

from models.adapters.tcp_keepalive import tcp_options
from models.core.errors import ServiceError
from storage.settings import Settings

VISIBILITY_SECONDS = 900
# The exit code of a worker that cannot do its work; if it were started again, it could not either.
EXIT_UNUSABLE = os.EX_UNAVAILABLE
UNUSABLE_PREFIX = "starmill worker: "
# This key exists while a feed service for this Redis is alive.
FEEDER_KEY = "starmill:feed"


def task_name(kind: str) -> str:
    """Return the name of the task for steps of a kind, which Flower shows."""
    return f"starmill.{kind}"


def celery_settings(settings: Settings, concurrency: int = 64) -> dict[str, Any]:
    return {
        "broker_url": _verified(settings.broker),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A Redis that is full or read-only refuses commands; that must not end a worker.
        "broker_channel_error_retry": True,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "max_connections": 2 * concurrency + 20,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "socket_keepalive_options": tcp_options(),
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_create_missing_queues": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # Without remote control a saturated worker never notices that Redis was restarted.
        "worker_enable_remote_control": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        # Flower switches them on in workers that it finds.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
    }


def _verified(url: str) -> str:
    """Make kombu check the certificate of a `rediss://` server, as redis-py does by default."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs=" in parts.query:
        return url
    query = "&".join(filter(None, (parts.query, "ssl_cert_reqs=required")))
    return urlunsplit(parts._replace(query=query))


class Queues:
    """The Redis lists that are Celery's queues, and the sign of life of the feed service.

    Raises ServiceError if the URL is invalid; RedisError while Redis is away.
    """

    def __init__(self, url: str) -> None:
        try:
            self._redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3)
        except ValueError as error:
            raise ServiceError(f"STARMILL_REDIS_URL: {error}") from None

    def check(self) -> None:
        """Raise ServiceError, with host and port but no password, unless Redis answers."""
        try:
            self._redis.ping()
        except RedisError as error:
            raise ServiceError(f"cannot reach Redis at {self.address}: {error}; "
                               "start it, set STARMILL_REDIS_URL, or run with --local") from None  # fmt: skip

    def lengths(self, queues: list[str]) -> list[int]:
        """Return the number of waiting messages of each queue, without those that workers hold."""
        pipeline = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipeline.llen(queue)
        return [int(length) for length in pipeline.execute()]

    def announce(self, seconds: float) -> None:
        """Announce for `seconds` that a feed service is alive."""
        self._redis.set(FEEDER_KEY, 1, px=round(1000 * seconds))

    def is_served(self) -> bool:
        """Return True if a feed service is alive."""
        return bool(self._redis.exists(FEEDER_KEY))

    @property
    def address(self) -> str:
        options = self._redis.get_connection_kwargs()
        return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")

    def close(self) -> None:
        self._redis.close()
