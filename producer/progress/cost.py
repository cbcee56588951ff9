"""The cost of a run in words."""

from __future__ import annotations

from collections.abc import Sequence

from models.core.experiment.endpoints import Student, Teacher
from models.core.experiment.experiment import Experiment
from models.core.money import usd

# Their servers may ask for money; other backends run here, or replay what was bought.
PAID_BACKENDS = ("openai", "server")


def unpriced_models(experiment: Experiment) -> tuple[str, ...]:
    """Return the models whose servers may ask for money, and that have no `price`."""
    endpoints: list[Teacher | Student] = [experiment.teacher, *experiment.students]
    if experiment.asks_judge and experiment.judge.model:
        endpoints.append(experiment.judge.model)
    return tuple(
        dict.fromkeys(each.name for each in endpoints if each.backend in PAID_BACKENDS and each.price.is_free)
    )


def cost(nano_usd: int, unpriced: Sequence[str]) -> str:
    """Return dollars, or "unknown" if models without a price were asked."""
    if not unpriced:
        return usd(nano_usd)
    return f"{usd(nano_usd)} and unknown for {', '.join(unpriced)}" if nano_usd else "unknown"
