"""Where a limit stands in Redis; known without its client, which takes long to load."""

from __future__ import annotations


def keys(name: str) -> list[str]:
    """Of the state and of the owners, as exchange.lua tells them."""
    return [f"starmill:limit:{{{name}}}:state", f"starmill:limit:{{{name}}}:owners"]
