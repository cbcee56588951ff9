"""Passages and their vectors: Milvus is the store of record, a snapshot is what workers search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from models.core.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PassageStore(Protocol):
    """Anything that finds the passages nearest to a vector."""

    def search(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[Hit]]:
        """The `k` most similar passages for each row of `vectors`, best first, ties in order of their keys.

        `vectors` are of unit length, shape [n, dimension]. Fewer than `k` where the store holds fewer.
        Raises ServiceError where the dimension is not the store's.
        """
        ...
