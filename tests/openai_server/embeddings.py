"""Vectors of texts: hashed words, so that texts with the same words are near each other."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import numpy
from aiohttp import web

DIMENSIONS = 64


def vector(text: str, dimensions: int = DIMENSIONS) -> numpy.ndarray:
    """Return a vector of length 1, the same for the same words in any order."""
    counted = numpy.zeros(dimensions, dtype="<f4")
    for word in re.findall(r"\w+", text.lower()) or [""]:
        number = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
        counted[number % dimensions] += 1 if number & 1 << 62 else -1
    length = numpy.linalg.norm(counted)
    if not length:
        counted[0] = length = 1
    return counted / length


async def _embed(http: web.Request) -> web.Response:
    body: dict[str, Any] = await http.json()
    asked = body.get("input")
    texts = [asked] if isinstance(asked, str) else asked
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        error = {"message": "input is a text or a list of texts", "param": "input", "code": None}
        return web.json_response({"error": error}, status=400)
    vectors = [vector(text, body.get("dimensions") or DIMENSIONS) for text in texts]
    tokens = sum(len(text.split()) for text in texts)
    return web.json_response({
        "object": "list",
        "model": body.get("model"),
        "data": [{"object": "embedding", "index": index, "embedding": _written(each, body)}
                 for index, each in enumerate(vectors)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })  # fmt: skip


def _written(vector: numpy.ndarray, body: dict[str, Any]) -> str | list[float]:
    """The openai client asks for base64 unless told otherwise."""
    if body.get("encoding_format") == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(number) for number in vector]


def add_to(app: web.Application) -> None:
    app.router.add_post("/v1/embeddings", _embed)
