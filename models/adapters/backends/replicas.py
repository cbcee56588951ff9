"""Servers of one model behind one backend: the least busy one is asked, and one that fails is set aside."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from models.adapters.backends.gateway_client import GatewayClient
from models.adapters.backends.openai import OpenAIBackend
from models.core.errors import RateLimited, TransportError, Unavailable
from models.core.experiment.endpoints import Model
from models.core.experiment.key_hosts import ANY_HOST, KeyHosts
from models.core.types import Completion, Limits, Request

log = logging.getLogger(__name__)
FIRST_PAUSE = 0.5  # seconds until a replica is probed; doubles until it has answered a call
LAST_PAUSE = 30.0


@dataclass(eq=False, slots=True)
class Replica:
    """A server and its load. `aside` gets no calls; `on_trial` has answered a probe, but no call yet."""

    url: str
    backend: OpenAIBackend
    in_flight: int = 0
    calls: int = 0
    aside: bool = False
    on_trial: bool = False
    pause: float = FIRST_PAUSE

    @property
    def load(self) -> tuple[bool, int, int]:
        return self.on_trial and self.in_flight > 0, self.in_flight, self.calls


class Replicas:
    """The servers at `base_url` and `replicas` of `endpoint`, called through the `gateway`, if any.

    An instance belongs to one event loop.
    """

    def __init__(
        self, endpoint: Model, gateway: GatewayClient | None = None, key_hosts: KeyHosts = ANY_HOST
    ) -> None:
        self.limits = Limits()
        urls = [url.rstrip("/") for url in (endpoint.base_url, *endpoint.replicas) if url]
        self._replicas = [
            Replica(url, OpenAIBackend(endpoint, url, gateway, key_hosts)) for url in dict.fromkeys(urls)
        ]
        self._probes: set[asyncio.Task[None]] = set()

    def count_tokens(self, request: Request) -> int | None:
        return None

    async def complete(self, request: Request) -> Completion:
        """Ask one replica after another until one answers. Raises ModelError: Unavailable if none does.

        A rate limit is no failure of its replica: the caller waits.
        """
        failure: TransportError | None = None
        tried: set[Replica] = set()
        while replica := self._next_replica(tried):
            tried.add(replica)
            replica.in_flight += 1
            replica.calls += 1
            try:
                completion = await replica.backend.complete(request)
            except RateLimited:
                raise
            except TransportError as error:
                failure = error
                self._set_aside(replica, error)
            else:
                replica.on_trial, replica.pause = False, FIRST_PAUSE
                return completion
            finally:
                replica.in_flight -= 1
                self.limits = replica.backend.limits
        raise failure or Unavailable(
            f"{request.model}: none of the servers {', '.join(each.url for each in self._replicas)} answers"
        )

    async def close(self) -> None:
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for replica in self._replicas:
            await replica.backend.close()

    def _next_replica(self, tried: set[Replica]) -> Replica | None:
        """Return the live replica with the fewest calls in flight, then the fewest calls ever."""
        live = (replica for replica in self._replicas if not replica.aside and replica not in tried)
        return min(live, key=lambda replica: replica.load, default=None)

    def _set_aside(self, replica: Replica, error: TransportError) -> None:
        if replica.aside:
            return
        log.warning("%s is set aside and probed until it is back: %s", replica.url, error)
        replica.aside = True
        probe = asyncio.get_running_loop().create_task(self._bring_back(replica))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _bring_back(self, replica: Replica) -> None:
        while True:
            await asyncio.sleep(replica.pause)
            replica.pause = min(2 * replica.pause, LAST_PAUSE)
            try:
                await replica.backend.probe()
            except TransportError:
                continue
            log.warning("%s is back", replica.url)
            replica.aside, replica.on_trial = False, True
            return
