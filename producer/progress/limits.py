"""How far a run uses the limits of its models, read from Redis by whoever shows the run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from models.backends import limit_name
from models.endpoints import Teacher
from models.students import Student
from producer.local.own_redis import local_redis
from storage.ledger.planning import Run
from storage.limits.base import Quota
from storage.limits.usage import Use, connect, read_use
from storage.settings import Settings

PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class LimitUse:
    """`endpoints` are the teacher and students that share the limits of `name`."""

    name: str
    endpoints: tuple[str, ...]
    use: Use

    def document(self) -> dict[str, Any]:
        use = self.use
        return {
            "name": self.name,
            "endpoints": list(self.endpoints),
            "used": {of: round(value, 1) for of, value in use.used.items()},
            "allowed": {of: round(most, 1) for of, most in use.allowed.items()},
            "shares": {of: round(share, 3) for of, share in use.shares.items()},
            "calls": use.calls,
            "refused_429": use.refused,
            "blocked_seconds": round(use.blocked, 1),
            "circuit_open": use.circuit_open,
        }


class LimitWatch:
    """Where Redis is away, nothing is known; it is tried again PATIENCE seconds later."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._away_until = 0.0

    def read(self, run: Run) -> tuple[LimitUse, ...]:
        if time.monotonic() < self._away_until:
            return ()
        # Of runs that are over nobody asks Redis: its client would be a sixth of all modules of a status.
        from redis.exceptions import RedisError

        # The Redis of a local run has another port each time.
        url = self._settings.redis_url or local_redis(self._settings.root) or self._settings.broker
        try:
            with connect(url) as client:
                return tuple(
                    LimitUse(
                        name, tuple(each.name for each in sharing), read_use(client, name, _quota(sharing))
                    )
                    for name, sharing in limited(run).items()
                )
        except (RedisError, ValueError):
            self._away_until = time.monotonic() + PATIENCE
            return ()


def limited(run: Run) -> dict[str, list[Teacher | Student]]:
    """Models that are asked over a network, by what they share their limits with."""
    experiment = run.experiment
    found: dict[str, list[Teacher | Student]] = {limit_name(experiment.teacher): [experiment.teacher]}
    for student in experiment.students:
        if not student.runs_in_worker:
            found.setdefault(limit_name(student), []).append(student)
    return found


def _quota(sharing: list[Teacher | Student]) -> Quota:
    """The last who said something holds, as in a worker."""
    said = sharing[-1]
    return Quota(said.rpm, said.tpm, said.max_concurrency)
