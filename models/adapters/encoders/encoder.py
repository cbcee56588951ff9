"""What every sentence encoder offers, and how a passage is put into words for it."""

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
    """Texts in, vectors out. Vectors compare only where the fingerprints are equal."""

    @property
    def dimension(self) -> int: ...

    @property
    def template(self) -> str:
        """How `passage_text` words a passage for this encoder."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256, hexadecimal, of all that decides a vector: weights, pooling, cut, passage template."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors [len(texts), dimension]; of unit length unless the encoder's folder says otherwise."""
        ...


def passage_text(passage: Passage, template: str = TEMPLATE) -> str:
    """The words of a passage that are encoded; the signature stands in for a missing text.

    In a template `{words}` is the name without punctuation.
    """
    text = passage.text or passage.signature
    words = " ".join(NAME_PARTS.findall(passage.name))
    return template.format(library=passage.library, name=passage.name, words=words, text=text).strip()
