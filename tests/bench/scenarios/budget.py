"""A cap on money, reached at half of the calls by all workers at once."""

from __future__ import annotations

import dataclasses

from models.core.experiment.endpoints import Price
from models.core.experiment.experiment import Experiment
from models.core.types import Request
from storage.ledger import runs
from storage.ledger.purchases import cost_nano_usd
from storage.schema import PLANNED, RUNNING
from tests.bench.experiment import where_known
from tests.bench.installation import RUN, Installation
from tests.bench.load import messages_of, request_of
from tests.bench.scenarios.base import Bench, Outcome, Unmeasured
from tests.bench.starting import installed
from tests.openai_server.calls import ask
from tests.openai_server.process import OpenAIServer
from tests.support.pipeline import wait_until

PRICE = Price(input=1.0, output=4.0)


def budget(bench: Bench) -> Outcome:
    """2,000 calls, four workers, money for half of them. The plain loop knows no cap."""
    if not where_known(Experiment, budget_usd=1.0):
        raise Unmeasured("an experiment has no budget_usd")
    load = bench.load(2_000, quick=192, workers=4, threads=24, teacher={"price": PRICE.model_dump()})
    with bench.server() as server:
        one_call = _price_of_a_call(server)
        load = dataclasses.replace(load, sections={"budget_usd": one_call * load.calls / 2})
        with installed(load, server, bench.folder / "starmill") as installation:
            installation.begin()
            _wait_for_the_cap(installation)
            values = installation.measured()
    allowed = load.calls / 2
    overshoot = max(0.0, values["requests"] - allowed)
    values["spent_over_budget"] = values["requests"] / allowed
    values["overshoot_over_in_flight"] = overshoot / values["in_flight_max"]
    return {"starmill": values}


def _price_of_a_call(server: OpenAIServer) -> float:
    """Dollars. All requests of a load have as many tokens, and so have their answers."""
    request = Request("openai", "teacher", tuple(messages_of(request_of(0))))
    return cost_nano_usd(ask(server.url, request).usage, PRICE) / 1e9


def _wait_for_the_cap(installation: Installation) -> None:
    def stopped() -> bool:
        state, _ = runs.run_state(installation.db, RUN)
        stats = installation.server.stats()
        committed = stats["in_flight"] == 0 and installation.final() >= stats["answers"]
        return state not in (PLANNED, RUNNING) and committed

    wait_until(stopped, "the run is stopped by its budget", installation.load.patience)
    installation.wait_for(0)
