"""The command `starmill`, and `python -m starmill`. The package before it has found our own packages."""

from __future__ import annotations

from producer.cli import main

__all__ = ("main",)

if __name__ == "__main__":
    main()
