"""Prices of models: those of the experiment, else those that the package genai-prices knows."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from models.core.experiment.endpoints import Model, Price
from producer.progress.wait_lines import PAID_BACKENDS

TOKENS = 1000


def price_of(model: Model, published: bool) -> Price | None:
    """Return the price of the model, None if it is unknown. With `published`, ask the package genai-prices,
    where it is installed, for a price that the experiment does not give."""
    if model.backend not in PAID_BACKENDS or not model.price.is_free:
        return model.price
    return published_price(model.model_name, model.base_url) if published else None


def source() -> str:
    """Return the name of the package with its release; empty if it is not installed."""
    if not find_spec("genai_prices"):
        return ""
    from importlib.metadata import version

    return f"genai-prices {version('genai-prices')}"


@cache
def published_price(model: str, base_url: str | None) -> Price | None:
    """Return the published price of a provider's model, without a `base_url` of OpenAI's."""
    if not find_spec("genai_prices"):
        return None
    from genai_prices import Usage, calc_price

    def per_million(**tokens: int) -> float:
        where = {"provider_api_url": base_url} if base_url else {"provider_id": "openai"}
        price = calc_price(Usage(**tokens), model, **where)  # type: ignore[call-overload]
        return float(price.total_price) * 1e6 / TOKENS

    try:
        return Price(
            input=per_million(input_tokens=TOKENS),
            cached_input=per_million(input_tokens=TOKENS, cache_read_tokens=TOKENS),
            output=per_million(output_tokens=TOKENS),
        )
    except LookupError:
        return None
