"""Weights and tokenizers of a folder, loaded by transformers; no weight is left at random."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from models.adapters.encoders.checkpoint import Checkpoint
from models.core.errors import ServiceError

# Not used by any pooling here; transformers makes one up where a checkpoint has none.
UNUSED = "pooler."


def load_transformer(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """(tokenizer, model) of the encoder, on the CPU, ready to encode. Raises ServiceError as `load` does."""
    transformers = quiet_transformers("passages.encoder")
    is_t5 = checkpoint.kind == "t5"
    # CodeT5 has RoBERTa's tokenizer, which nothing in its configuration tells.
    byte_pairs = is_t5 and (checkpoint.path / "merges.txt").is_file()
    tokenizers = transformers.RobertaTokenizer if byte_pairs else transformers.AutoTokenizer
    models = transformers.T5EncoderModel if is_t5 else transformers.AutoModel
    return load("passages.encoder", checkpoint.path, tokenizers, models, UNUSED)


# The package puts another module in its own place when it is imported: a second thread that imports it
# meanwhile would be left with the first, which is empty.
_importing = threading.Lock()


def quiet_transformers(setting: str) -> Any:
    """The package, silent: loading reports its progress on standard error, which belongs to the command line.

    Raises ServiceError, which names the `setting` that needs it, where it or torch is missing.
    """
    try:
        with _importing:
            import torch  # noqa: F401  (named in the message below where it is missing)
            import transformers
    except ImportError as error:
        raise ServiceError(
            f"{setting}: {error.name} is not installed; pip install 'starmill[retrieve]'"
        ) from None
    messages: Any = transformers.utils.logging
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    return transformers


def load(setting: str, path: Path, tokenizers: Any, models: Any, *unused: str) -> tuple[Any, Any]:
    """(tokenizer, model) of a folder by these classes of transformers.

    Raises ServiceError where a weight is missing, but for those whose names begin as `unused`: transformers
    itself would draw it at random and only warn. Weights that the model does not have, such as those of a
    decoder, are ignored.
    """
    source = str(path)
    try:
        tokenizer = tokenizers.from_pretrained(source, local_files_only=True)
        model, found = models.from_pretrained(source, local_files_only=True, output_loading_info=True)
    except Exception as error:
        # A folder that somebody made raises whatever its first missing piece raises.
        reason = " ".join(str(error).split())[:200]
        raise ServiceError(
            f"{setting}: {source} cannot be loaded ({type(error).__name__}: {reason}); "
            "save it there again with transformers"
        ) from error
    if missing := sorted(key for key in found["missing_keys"] if not key.startswith(unused)):
        extra = sorted(found["unexpected_keys"])
        named = f"; it has {extra[0]} instead, perhaps under a prefix" if extra else ""
        raise ServiceError(
            f"{setting}: {source} lacks {len(missing)} weights of its model, such as {missing[0]}"
            f"{named}; save them under their own names"
        )
    return tokenizer, model.eval()
