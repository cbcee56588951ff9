"""Weights and tokenizer of an encoder, by transformers; nothing is left at random."""

from __future__ import annotations

from typing import Any

from models.encoders.checkpoint import Checkpoint
from models.errors import ServiceError

# Not used by any pooling here; transformers makes one up where a checkpoint has none.
UNUSED = "pooler."


def load_transformer(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """(tokenizer, model) of the encoder, on the CPU, ready to encode.

    Raises ServiceError where transformers or a weight is missing: transformers itself would draw the weight
    at random and only warn. Weights that the encoder does not have, such as those of a decoder, are ignored.
    """
    try:
        import torch  # noqa: F401  (named in the message below where it is missing)
        import transformers
    except ImportError as error:
        raise ServiceError(
            f"passages.encoder: {error.name} is not installed; pip install 'starmill[retrieve]'"
        ) from None
    # Loading reports its progress on standard error, which belongs to the command line.
    messages: Any = transformers.utils.logging
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    source = str(checkpoint.path)
    is_t5 = checkpoint.kind == "t5"
    # CodeT5 has RoBERTa's tokenizer, which nothing in its configuration tells.
    byte_pairs = is_t5 and (checkpoint.path / "merges.txt").is_file()
    tokenizers: Any = transformers.RobertaTokenizer if byte_pairs else transformers.AutoTokenizer
    models: Any = transformers.T5EncoderModel if is_t5 else transformers.AutoModel
    try:
        tokenizer = tokenizers.from_pretrained(source, local_files_only=True)
        model, found = models.from_pretrained(source, local_files_only=True, output_loading_info=True)
    except Exception as error:
        # A folder that somebody made raises whatever its first missing piece raises.
        reason = " ".join(str(error).split())[:200]
        raise ServiceError(
            f"passages.encoder: {source} cannot be loaded ({type(error).__name__}: {reason}); "
            "save it there again with transformers"
        ) from error
    if missing := sorted(key for key in found["missing_keys"] if not key.startswith(UNUSED)):
        extra = sorted(found["unexpected_keys"])
        named = f"; it has {extra[0]} instead, perhaps under a prefix" if extra else ""
        raise ServiceError(
            f"passages.encoder: {source} lacks {len(missing)} weights of its model, such as {missing[0]}"
            f"{named}; save them under their own names"
        )
    return tokenizer, model.eval()
