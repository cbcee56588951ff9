"""Hard negatives: passages that an encoder takes for answers although nobody named them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from producer.training.pairs import Pairs

DEPTH = 30
REQUESTS_AT_ONCE = 64


def mine(
    data: Pairs, requests: NDArray[np.float32], passages: NDArray[np.float32], depth: int = DEPTH
) -> NDArray[np.int64]:
    """[pairs, depth]: the places of the passages nearest to the request of each pair, less its answers.

    `requests` and `passages` are the vectors of the texts in `data`. Less deep where there are fewer.
    """
    most = max(map(len, data.answers.values()))
    depth = min(depth, len(data.passages) - most)
    found = np.empty((len(data.requests), depth), dtype=np.int64)
    for start in range(0, len(requests), REQUESTS_AT_ONCE):
        for row, scores in enumerate(requests[start : start + REQUESTS_AT_ONCE] @ passages.T, start):
            order = np.argsort(-scores, kind="stable")
            answers = data.answers[data.requests[row]]
            rest = (place for place in order if data.passages[place] not in answers)
            found[row] = [place for place, _ in zip(rest, range(depth), strict=False)]
    return found[[request for request, _ in data.pairs]]
