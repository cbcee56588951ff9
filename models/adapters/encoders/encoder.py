"""The interface of every sentence encoder, and the text of a passage that it encodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from models.core.types import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


TEMPLATE = "{library} {name}: {text}"
# As DocPrompting's retriever was trained: `pandas pandas DataFrame drop: Drop specified labels`.
WORDS_TEMPLATE = "{library} {words}: {text}"
NAME_PARTS = re.compile(r"[A-Za-z0-9]+")
TEMPLATE_FIELDS = frozenset({"library", "name", "words", "text"})


class Encoder(Protocol):
    """Turns texts into vectors. Only vectors with equal fingerprints can be compared."""

    @property
    def dimension(self) -> int: ...

    @property
    def template(self) -> str:
        """The template of `passage_text` for this encoder."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256, hexadecimal, of all that decides a vector: weights, pooling, cut, passage template."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors [len(texts), dimension], of unit length unless `starmill.json` turns that off."""
        ...


class NoEncoder:
    """Stands in for an encoder where no search compares vectors: all are equal, and Milvus takes them."""

    dimension = 2
    template = TEMPLATE
    fingerprint = "0" * 64

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        return np.tile(np.array([1, 0], dtype=np.float32), (len(texts), 1))


def passage_text(passage: Passage, template: str = TEMPLATE) -> str:
    """Return the text of a passage to encode; the signature replaces a missing text.

    `{words}` in a template is the name without punctuation.
    """
    text = passage.text or passage.signature
    words = " ".join(NAME_PARTS.findall(passage.name))
    return template.format(library=passage.library, name=passage.name, words=words, text=text).strip()
