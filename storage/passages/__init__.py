"""Passages and their vectors, in two stores.

Milvus, Lite or a server, is the store of record: builds write to it, and a machine without a snapshot
copies the index from a server. Workers never search Milvus: the snapshot answers every search, exactly and
from mapped memory, for a corpus of any size. Only a build searches Milvus, to compare its index with
the exact answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from models.core.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PassageStore(Protocol):
    """A store that finds the passages nearest to a vector."""

    def search(self, vectors: NDArray[np.floating[Any]], k: int) -> list[list[Hit]]:
        """Return the `k` most similar passages for each row of `vectors`, best first, ties in key order.

        `vectors` are of unit length, shape [n, dimension]. A store with fewer than `k` passages returns all.
        Raise ServiceError if the dimension is not the store's.
        """
        ...
