"""Parse the sampling parameters of a request for an engine in this process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from models.core.errors import AccessError, BadRequest


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters with the names of OpenAI and vLLM.

    `temperature` 0 takes the likeliest token. `top_k` 0 considers all tokens; `min_p` is a share of the
    likeliest token's probability. `max_tokens` None fills the context.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


SAMPLING_PARAMS = frozenset(field.name for field in fields(Sampling))
# OpenAI's new name of `max_tokens`.
ALIASES = {"max_completion_tokens": "max_tokens"}
# (minimum, maximum); the minimum itself is not allowed for the names in ABOVE.
BOUNDS = {
    "temperature": (0.0, math.inf),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.0, math.inf),
}
ABOVE = {"top_p", "repetition_penalty"}


def parse_sampling(params: Mapping[str, Any]) -> Sampling:
    """Return the sampling parameters of a request; null values are ignored.

    Raises AccessError for an unknown name, since every request has it, and BadRequest for a wrong value.
    """
    given = {ALIASES.get(name, name): value for name, value in params.items() if value is not None}
    if unknown := sorted(given.keys() - SAMPLING_PARAMS):
        raise AccessError(
            f"params: {', '.join(unknown)} cannot be used where a worker runs the model itself; "
            f"take {', '.join(sorted(SAMPLING_PARAMS))}, or backend server"
        )
    return Sampling(**{name: _checked(name, value) for name, value in given.items()})


def _checked(name: str, value: Any) -> Any:
    if name == "stop":
        return _stops(value)
    if name in BOUNDS:
        min_, max_ = BOUNDS[name]
        usable = type(value) in (int, float) and min_ <= value <= max_ and math.isfinite(value)
        if not usable or (name in ABOVE and value == min_):
            raise _unusable(name, value, f"a number {'above' if name in ABOVE else 'from'} {min_:g}"
                                         + (f" to {max_:g}" if max_ < math.inf else ""))  # fmt: skip
        return float(value)
    min_integer = {"top_k": -1, "max_tokens": 1, "seed": -(2**63)}[name]
    if type(value) is not int or not min_integer <= value < 2**63:
        raise _unusable(name, value, f"a whole number from {min_integer}")
    # vLLM's -1 means the same as 0.
    return max(value, 0) if name == "top_k" else value


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and text for text in texts):
        raise _unusable("stop", value, "a text, or a list of texts, none of them empty")
    return tuple(texts)


def _unusable(name: str, value: Any, wanted: str) -> BadRequest:
    return BadRequest(f"params.{name}: {str(value)[:60]!r} cannot be used; give {wanted}")
