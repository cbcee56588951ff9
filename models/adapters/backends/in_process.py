"""Opening a model in this process: slow, and wrong in many ways.

Parameters of a request as an engine in this process takes them; the names are OpenAI's and vLLM's.

How full an engine is kept: its occupancy over time.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from models.core.errors import AccessError, BadRequest

QUOTED = 300
T = TypeVar("T")


async def in_a_thread(function: Callable[[], T]) -> T:
    """Like an executor's, but a process that ends does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        if not done.done():
            result()

    def work() -> None:
        try:
            found = function()
        except BaseException as error:  # noqa: BLE001 (it is raised where it belongs)
            failed = error
            loop.call_soon_threadsafe(settle, lambda: done.set_exception(failed))
        else:
            loop.call_soon_threadsafe(settle, lambda: done.set_result(found))

    threading.Thread(target=work, name="opening", daemon=True).start()
    return await done


def first_line(error: BaseException) -> str:
    """What a library says is wrong, short; pydantic says it after a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    said = lines[0] if lines else type(error).__name__
    return said if len(said) <= QUOTED else said[: QUOTED - 3] + "..."


@dataclass(frozen=True, slots=True)
class Sampling:
    """`temperature` 0 takes the likeliest token. `top_k` 0 looks at all tokens; `min_p` is a share of the
    likeliest token's probability. `max_tokens` None is as many as the context leaves room for."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


NAMES = frozenset(field.name for field in fields(Sampling))
# The name that OpenAI gives to `max_tokens` today.
ALIASES = {"max_completion_tokens": "max_tokens"}
# From, to: both are allowed, but for the least repetition_penalty and top_p.
BOUNDS = {
    "temperature": (0.0, math.inf),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.0, math.inf),
}
ABOVE = {"top_p", "repetition_penalty"}


def sampling_of(params: Mapping[str, Any]) -> Sampling:
    """The parameters of one request; what is null counts as not given.

    Raises AccessError where a name is unknown (it would be for every request), BadRequest where a value
    cannot be used.
    """
    given = {ALIASES.get(name, name): value for name, value in params.items() if value is not None}
    if unknown := sorted(given.keys() - NAMES):
        raise AccessError(
            f"params: {', '.join(unknown)} cannot be used where a worker runs the model itself; "
            f"take {', '.join(sorted(NAMES))}, or backend server"
        )
    return Sampling(**{name: _checked(name, value) for name, value in given.items()})


def _checked(name: str, value: Any) -> Any:
    if name == "stop":
        return _stops(value)
    if name in BOUNDS:
        least, most = BOUNDS[name]
        usable = type(value) in (int, float) and least <= value <= most and math.isfinite(value)
        if not usable or (name in ABOVE and value == least):
            raise _unusable(name, value, f"a number {'above' if name in ABOVE else 'from'} {least:g}"
                                         + (f" to {most:g}" if most < math.inf else ""))  # fmt: skip
        return float(value)
    least_whole = {"top_k": -1, "max_tokens": 1, "seed": -(2**63)}[name]
    if type(value) is not int or not least_whole <= value < 2**63:
        raise _unusable(name, value, f"a whole number from {least_whole}")
    # vLLM's -1 means the same as 0.
    return max(value, 0) if name == "top_k" else value


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and text for text in texts):
        raise _unusable("stop", value, "a text, or a list of texts, none of them empty")
    return tuple(texts)


def _unusable(name: str, value: Any, wanted: str) -> BadRequest:
    return BadRequest(f"params.{name}: {str(value)[:60]!r} cannot be used; give {wanted}")
