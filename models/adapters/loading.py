"""Load tokenizers and models with transformers, and refuse a folder that lacks weights."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from models.adapters.encoders.checkpoint import Checkpoint
from models.core.errors import ServiceError

# No pooling uses these weights; transformers draws them at random if a checkpoint has none.
UNUSED = "pooler."


def load_transformer(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Return (tokenizer, model) of an encoder, on the CPU. Raises ServiceError like `load_pretrained`."""
    transformers = quiet_transformers("passages.encoder")
    is_t5 = checkpoint.kind == "t5"
    # CodeT5 has RoBERTa's tokenizer, but its configuration does not say so.
    byte_pairs = is_t5 and (checkpoint.path / "merges.txt").is_file()
    tokenizers = transformers.RobertaTokenizer if byte_pairs else transformers.AutoTokenizer
    models = transformers.T5EncoderModel if is_t5 else transformers.AutoModel
    return load_pretrained("passages.encoder", checkpoint.path, tokenizers, models, UNUSED)


# The package replaces its own module while it is imported: a second thread that imports it meanwhile would
# get the first, empty one.
_importing = threading.Lock()


def quiet_transformers(setting: str) -> Any:
    """Import transformers and silence it: its progress bars would disturb the command line.

    Raises ServiceError, which names the `setting` that needs it, if transformers or torch is missing.
    """
    try:
        with _importing:
            import torch  # noqa: F401  (named in the message below where it is missing)
            import transformers
    except ImportError as error:
        raise ServiceError(
            f"{setting}: {error.name} is not installed; pip install 'starmill[torch]'"
        ) from None
    messages: Any = transformers.utils.logging
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    return transformers


def describe_error(error: Exception) -> str:
    """Return an unexpected error's class and text on one line, cut short."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def load_pretrained(setting: str, path: Path, tokenizers: Any, models: Any, *unused: str) -> tuple[Any, Any]:
    """Load (tokenizer, model) from a folder with these classes of transformers.

    Raises ServiceError if a weight is missing whose name does not begin with one of `unused`: transformers
    would draw it at random and only warn. Weights that the model does not have, such as a decoder's, are
    ignored.
    """
    source = str(path)
    try:
        tokenizer = tokenizers.from_pretrained(source, local_files_only=True)
        model, loading = models.from_pretrained(source, local_files_only=True, output_loading_info=True)
    except Exception as error:
        # A folder that somebody made raises whatever its first missing piece raises.
        raise ServiceError(
            f"{setting}: {source} cannot be loaded ({describe_error(error)}); "
            "save it there again with transformers"
        ) from error
    if missing := sorted(key for key in loading["missing_keys"] if not key.startswith(unused)):
        extra = sorted(loading["unexpected_keys"])
        instead = f"; it has {extra[0]} instead, perhaps under a prefix" if extra else ""
        raise ServiceError(
            f"{setting}: {source} lacks {len(missing)} weights of its model, such as {missing[0]}"
            f"{instead}; save them under their own names"
        )
    return tokenizer, model.eval()
