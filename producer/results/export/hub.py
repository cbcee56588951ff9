"""Exported folders on the Hugging Face Hub, or on a server that HF_ENDPOINT names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.core.errors import ServiceError, UsageError

HUB_ADDRESS = "https://huggingface.co"
REFUSED = {
    401: "HF_TOKEN is not known there, or has expired",
    403: "HF_TOKEN may not write it; take a token with the role write, and a name of your own",
    404: "HF_TOKEN may not write it, or there is no such user",
}


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset that may be written. `name` is whole, with the user or organization that it belongs to."""

    api: Any
    name: str

    @classmethod
    def create(cls, name: str, *, public: bool) -> HubDataset:
        """Make the dataset, private unless `public`, if it is not there. Raise UsageError, ServiceError."""
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.errors import HFValidationError
            from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but lazy
        except ModuleNotFoundError:
            raise ServiceError("--push needs huggingface_hub: pip install 'starmill[hub]'") from None
        try:
            validate_repo_id(name)
        except HFValidationError:
            raise UsageError(f"--push {name!r} is no name; give NAME or USER/NAME of letters, digits, "
                             "-, _ and .") from None  # fmt: skip
        token = os.environ.get("HF_TOKEN", "")
        if not token:
            raise UsageError("--push needs a token of the Hub that may write: set HF_TOKEN")
        endpoint = os.environ.get("HF_ENDPOINT") or HUB_ADDRESS
        api = HfApi(endpoint=endpoint, token=token, library_name="starmill")
        with _one_line(name, endpoint):
            made = api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        return cls(api, made.repo_id)

    def upload(self, folder: Path) -> str:
        """Replace the dataset's rows and card by those of the folder, and return its address."""
        with _one_line(self.name, self.api.endpoint):
            self.api.upload_folder(
                repo_id=self.name, repo_type="dataset", folder_path=folder, delete_patterns="data/*",
                commit_message="Export rows with Starmill",
            )  # fmt: skip
        return f"{self.api.endpoint}/datasets/{self.name}"


@contextmanager
def _one_line(name: str, endpoint: str) -> Iterator[None]:
    """Turn errors of the client into a line. Raise UsageError, ServiceError."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = REFUSED.get(status) or f"{status} {error.server_message or ''}".strip()
        raise ServiceError(f"--push {name}: {endpoint} refuses it: {why}") from None
    except (HTTPError, OSError, RuntimeError, ValueError, LookupError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ServiceError(f"--push {name}: {endpoint} cannot be used: {problem}") from None
